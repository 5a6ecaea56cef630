"""The plan of an archive on this machine, and the supervisor that keeps it up."""
