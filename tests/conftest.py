"""For all tests: what Hypothesis tries may take as long as it takes; no test asserts a time."""

from __future__ import annotations

from hypothesis import settings

from tests.postgres import database, postgres

__all__ = ["database", "postgres"]

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
