"""The demo: the main job, over HTTP."""
