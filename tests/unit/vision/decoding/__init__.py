"""The decoders, without a process."""
