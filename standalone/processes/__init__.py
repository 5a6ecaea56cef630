"""Child processes and who keeps them up."""
