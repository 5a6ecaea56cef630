"""What one picture may take: time, memory, and its share while others wait."""
