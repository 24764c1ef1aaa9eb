"""Measures Penstock beside what a user would pick instead of it (design, section 8)."""
