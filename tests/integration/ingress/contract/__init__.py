"""What docs/api.md says of all routes: parameters, names, bodies, and the words of errors."""
