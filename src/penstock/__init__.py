"""Penstock: a model server that is composed."""

__version__ = "0.1.0"
