"""Processes that tests kill, and a ledger that counts the effects."""
