"""One module per question; each has a `run` that takes the bench and returns a report."""
