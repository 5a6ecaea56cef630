"""The consumer runtime: one loop for every role, exactly-once effect through PostgreSQL."""
