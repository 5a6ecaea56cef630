"""Child processes: started, kept up by a policy, and gone when we go."""
