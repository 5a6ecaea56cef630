"""The standalone mode: embedded Kafka and PostgreSQL, and a supervisor of all processes."""
