"""Webhooks: their schedule, leases, attempts, and where they go."""
