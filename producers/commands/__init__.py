"""What people run from the command line."""
