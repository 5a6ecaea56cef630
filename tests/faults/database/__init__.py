"""The database of the roles dies, and another server takes its place."""
