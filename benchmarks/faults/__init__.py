"""A gateway whose remote arms fail in every way, one at a time."""
