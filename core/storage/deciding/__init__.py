"""What people decide about images, one or many: what becomes of tags, and what is undone."""
