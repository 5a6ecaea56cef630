"""Readers for what Pillow refuses, misreads or holds too often, as Pillow plugins of our own."""
