"""Queries become answers and callback events."""
