"""By what the controllers of a cluster know each other: a key that only this home has.

KRaft has no SCRAM between controllers: they send each other the password itself. Whoever takes the
port of one that is down must not get it, so they speak TLS, and believe one certificate alone.
"""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from standalone.files import write_private

KEY_FILE, CERTIFICATE_FILE = "controllers.key.pem", "controllers.pem"
LIFE = timedelta(days=3650)  # it is made anew at each start of the supervisor


def make_certificate(folder: Path, host: str) -> Path:
    """Write a new key and its certificate; return the file of the certificate.

    Args:
        folder: for both files; only their owner can read them.
        host: the address for which it holds.
    """
    # Here, for who starts one broker does not need it: half a hundred milliseconds.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "photo-archive controllers")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + LIFE)
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    text = certificate.public_bytes(serialization.Encoding.PEM).decode()
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    write_private(folder / KEY_FILE, secret + text)
    write_private(folder / CERTIFICATE_FILE, text)
    return folder / CERTIFICATE_FILE
