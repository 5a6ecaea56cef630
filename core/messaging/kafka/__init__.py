"""aiokafka behind the calls that the loop needs."""
