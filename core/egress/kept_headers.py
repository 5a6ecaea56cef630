"""Headers that are kept for people to see: bounded, and without what is a secret. Pure."""

import re
from collections.abc import Iterable

MAX_HEADERS = 40  # a chatty server sends 30
MAX_NAME_CHARS = 128
MAX_VALUE_CHARS = 1024  # a policy of content security may be longer: it is cut
#: What opens somebody's door is not kept: its name is, so that people see that it was there. Names
#: are everybody's own, so it is told by the words in them: `x-vault-token`, `grpc-session-key`.
_SECRET = re.compile(
    "auth|cookie|csrf|xsrf|jwt|passw|secret|session|token(?!s)|api-?key|(^|-)key(-|$)|-sid$"
)
NOT_KEPT = "(not kept)"


def kept_headers(headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    """Return the first 40 of some headers, in their order, names in lower case."""
    kept: list[tuple[str, str]] = []
    for name, value in headers:
        if len(kept) == MAX_HEADERS:
            break
        lower = _text(name, MAX_NAME_CHARS).lower()
        kept.append((lower, NOT_KEPT if _SECRET.search(lower) else _text(value, MAX_VALUE_CHARS)))
    return tuple(kept)


def _text(raw: bytes, most: int) -> str:
    # PostgreSQL refuses NUL; anything else that is no UTF-8 is shown as if it were Latin-1.
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text[:most].replace("\0", "\N{REPLACEMENT CHARACTER}")
