"""The authorities that the guarded client trusts."""

import ssl
from pathlib import Path

import certifi

from core.errors import ConfigurationError


def default_ssl_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return a context for TLS 1.2 and up. It trusts certifi's roots too: slim images have none.

    Args:
        ca_file: PEM with further roots, such as a company's own.

    Raises:
        ConfigurationError: the file cannot be read, or holds no certificate.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigurationError(f"EGRESS_CA_FILE: {ca_file}: {error}") from error
    return context
