"""Standard Webhooks: bodies, signatures, schedule, sender."""
