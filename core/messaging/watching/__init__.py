"""What waits in the partitions of a member, and whether they move."""
