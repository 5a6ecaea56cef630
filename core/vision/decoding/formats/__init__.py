"""Headers in plain Python, and readers for what Pillow refuses, misreads or holds too often."""
