"""Pictures decoded in processes: good ones, odd ones, hostile ones."""
