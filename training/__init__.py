"""Training of the bundled demo model. Never imported by a role at run time."""
