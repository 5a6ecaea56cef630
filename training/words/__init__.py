"""What is said of pictures: names, groups, prompts, and classes rebuilt without pictures."""
