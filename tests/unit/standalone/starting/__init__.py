"""Starts on a busy machine: what is waited for, for how long, and what is said meanwhile."""
