"""Embedded Kafka and PostgreSQL, and a supervisor of the roles."""
