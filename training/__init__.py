"""Trains the models that the examples and the tests serve; `python -m training` makes all files."""
