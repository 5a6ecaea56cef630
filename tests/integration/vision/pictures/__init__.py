"""Pictures by what they are meant to show, through the code that runs in decoder processes."""
