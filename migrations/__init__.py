"""Schema, topics and the first key: python -m migrations."""
