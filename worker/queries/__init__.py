"""Every statement against the tables, one module per subject."""
