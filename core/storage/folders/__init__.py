"""Folders whose photos are announced: jobs, their images, and what a watcher has seen."""
