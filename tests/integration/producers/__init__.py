"""Tests of the producers with PostgreSQL and a real file system."""
