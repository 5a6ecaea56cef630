"""Clients that others would make of our documents, against the whole archive."""
