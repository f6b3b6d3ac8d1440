"""The demonstration: real films through everything, into a small PACS of its own."""
