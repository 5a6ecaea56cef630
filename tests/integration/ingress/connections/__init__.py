"""Connections: what they may hold, and who may hold how many."""
