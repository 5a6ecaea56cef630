import os

OPTIONS = {
    "security_protocol": "KAFKA_SECURITY_PROTOCOL",
    "sasl_mechanism": "KAFKA_SASL_MECHANISM",
    "sasl_plain_username": "KAFKA_SASL_USERNAME",
    "sasl_plain_password": "KAFKA_SASL_PASSWORD",
}
# Empty without these variables: then the broker asks for no password.
LOGIN = {option: os.environ[name] for option, name in OPTIONS.items() if name in os.environ}
