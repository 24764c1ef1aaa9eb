"""A server that is operated under a steady load, and what its callers notice of it."""
