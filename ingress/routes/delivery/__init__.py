"""Routes about queries, webhooks and where they go."""
