"""The message for a machine on which an embedded server cannot run."""

import platform
import sys
from pathlib import Path


def unsupported(server: str, package: str) -> str:
    """Return a message: the package with the server's binaries is missing, and the likely cause."""
    here = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    if sys.platform == "win32":
        why = "Windows is not supported: use WSL"
    elif any(Path("/lib").glob("ld-musl-*")):
        why = "there is no build for musl (Alpine): use a glibc system such as Debian"
    else:
        why = "either it was not installed, or it has no build for this machine"
    return (
        f"the embedded {server} needs the package {package}, which is not here ({here}): {why}. "
        "Any other Kafka and PostgreSQL do as well: set KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL"
    )
