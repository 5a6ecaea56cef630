"""Weights of models: where they come from, which activation they want, and who they are."""
