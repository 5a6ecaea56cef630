"""Starts on a busy machine: whose port it is, and what is said meanwhile."""
