"""What deploy/ holds, as far as it can be checked without a cluster."""
