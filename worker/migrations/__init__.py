"""Numbered Alembic revisions; `worker.schema` runs them."""
