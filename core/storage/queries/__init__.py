"""Queries from their submission to their answer."""
