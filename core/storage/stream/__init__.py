"""Where consumers stand and what they leave behind: progress, outbox, dead letters."""
