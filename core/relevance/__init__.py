"""Which labels a text names, and which image answers best. Pure."""
