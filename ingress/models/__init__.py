"""What clients send and see. Never put on a topic as it is."""
