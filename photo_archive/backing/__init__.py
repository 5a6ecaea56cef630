"""Backups: what is in one, how it is written and checked, and how an archive comes of it."""
