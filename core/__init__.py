"""Shared instruments, one child per concept of the domain; children do not know each other."""
