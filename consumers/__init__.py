"""The read side: one folder per role, the same files each."""
