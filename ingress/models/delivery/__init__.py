"""Queries, webhooks and targets as clients see them."""
