"""Signed links with an expiry: they give access to one path without an API key until then."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import parse_qs, urlsplit

from core.errors import PermanentError

EXPIRES = "expires"
SIGNATURE = "signature"
PURPOSE = "links"  # for `SecretBox.derived_keys`


class LinkRefused(PermanentError):
    """A link that was altered, has expired, or was never signed by this instance."""

    default_reason = "link_refused"


def sign_link(path: str, *, expires_at: datetime, key: bytes) -> str:
    """Return `path?expires=…&signature=…`, valid for exactly this path.

    Args:
        path: absolute, without a query; what the server will see, percent-encoding and all.
        expires_at: aware; rounded down to the second.
        key: `SecretBox.derived_keys(PURPOSE)[0]`.

    Raises:
        ValueError: the path has a query or does not start with a slash.
    """
    if not path.startswith("/") or "?" in path or "#" in path:
        raise ValueError(f"{path!r} is not an absolute path without a query")
    expires = int(expires_at.timestamp())
    return f"{path}?{EXPIRES}={expires}&{SIGNATURE}={_signature(path, expires, key)}"


def check_link(link: str, *, keys: Sequence[bytes], now: datetime) -> None:
    """Raise unless one of the keys signed a link (path and query) whose time has not run out.

    Raises:
        LinkRefused: altered or unsigned (`link_refused`), or too late (`link_expired`).
    """
    parts = urlsplit(link)
    fields = parse_qs(parts.query)
    try:
        (expires_text,), (signature,) = fields[EXPIRES], fields[SIGNATURE]
        expires = int(expires_text)
    except (KeyError, ValueError) as error:
        raise LinkRefused("the link has no signature that can be read") from error
    wanted = [_signature(parts.path, expires, key) for key in keys]
    fits = [hmac.compare_digest(one.encode(), signature.encode()) for one in wanted]
    if not any(fits) or expires_text != str(expires):
        raise LinkRefused("the signature does not fit the link")
    if now.timestamp() >= expires:
        raise LinkRefused("the link has expired", reason="link_expired")


def _signature(path: str, expires: int, key: bytes) -> str:
    digest = hmac.digest(key, f"{expires}\n{path}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")
