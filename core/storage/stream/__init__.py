"""Tables of the consumer runtime: progress, outbox, dead letters, members."""
