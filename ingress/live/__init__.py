"""What goes on now: looks at the pipeline, and the stream of changes for all who watch."""
