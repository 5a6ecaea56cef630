"""Connections to PostgreSQL: the pool, a pooler between, several hosts."""
