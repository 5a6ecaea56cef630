"""Directories and watched folders: scans, the ledger, hints."""
