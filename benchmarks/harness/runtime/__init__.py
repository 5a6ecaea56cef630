"""What the runtime is measured beside, and how."""
