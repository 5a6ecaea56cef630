"""`photo-archive`, the one command for people: one module per group of subcommands."""
