"""Processes that are killed, and the ledger that counts what came of it."""
