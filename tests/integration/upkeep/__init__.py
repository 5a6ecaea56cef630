"""Upkeep on a real PostgreSQL."""
