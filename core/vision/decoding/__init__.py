"""Untrusted bytes to pixels, in worker processes with limits."""
