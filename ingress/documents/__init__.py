"""Machine-readable documents, generated from the models that validate."""
