"""Addresses in settings: what they must look like, and how they are shown. Pure.

An address may hold a password, and one that is written wrong may hold it anywhere: so what is said
about an address that cannot be read says the rule and never the value. Decision 0027.
"""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

_PORT = re.compile(r"[0-9]{1,5}")
_ESCAPES = "write '/', '?', '#', '@' and '%' in a user or password as %2F, %3F, %23, %40 and %25"
_READ_ONLY = re.compile(r"[?&]target_session_attrs=(?!(read-write|primary|any)(&|$))")
_UNSEEN = re.compile(r"[\x00-\x20\x7f]")


def check_database_url(url: str) -> None:
    """Check that a URL is PostgreSQL's and that no part of its password stands elsewhere.

    Raises:
        ValueError: it is not; the message holds nothing of it.
    """
    scheme, separator, rest = url.partition("://")
    if scheme not in {"postgresql", "postgres"} or not separator:
        raise ValueError("must be postgresql://user:password@host:port/database")
    before_path = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "#" in rest or "@" in rest[len(before_path) :] or before_path.count("@") > 1:
        raise ValueError(f"is not readable as an address: {_ESCAPES}")
    _check_visible(url)
    if _READ_ONLY.search(rest):
        raise ValueError("target_session_attrs must be read-write or primary: archives are written")
    for host in before_path.rpartition("@")[2].split(","):
        _check_port(host, may_lack=True)


def check_brokers(text: str) -> None:
    """Check that a text is `host:port`, several separated by commas.

    Raises:
        ValueError: it is not; the message holds the part that is wrong, unless it has an `@`.
    """
    _check_visible(text.replace(" ", ""))
    for part in text.split(","):
        try:
            _check_port(part.strip(), may_lack=False)
        except ValueError as error:
            told = "" if "@" in part or part == text else f": {part.strip()[:100]!r} is not"
            raise ValueError(f"must be host:port, several separated by commas{told}") from error


def check_web_url(url: str) -> None:
    """Check that a URL is `http` or `https` with a host.

    Raises:
        ValueError: it is not; the message holds nothing of it.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in {"http", "https"}:
        raise ValueError("must begin with http:// or https://")
    before_path = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if before_path.count("@") > 1 or "@" in rest[len(before_path) :]:
        raise ValueError(f"is not readable as an address: {_ESCAPES}")
    _check_visible(url)
    _check_port(before_path.rpartition("@")[2], may_lack=True)
    if not urlsplit(url).hostname:
        raise ValueError("names no host")


def check_origins(text: str) -> None:
    """Check that a text is origins, `https://page.example`, several separated by commas, or `*`.

    Raises:
        ValueError: it is not.
    """
    for part in () if text == "*" else text.split(","):
        check_web_url(part.strip())
        if re.search(r"[/?#@]", part.partition("://")[2]):
            raise ValueError("must be origins without a path, https://page.example, or *")


def check_place(url: str) -> None:
    """Check that a place of bytes, or a list of them, holds no credentials.

    Raises:
        ValueError: it does; the message holds nothing of it.
    """
    if re.search(r"[@?#]", url) and "://" in url:
        raise ValueError(
            "must hold no credentials and no query: AWS_…, GOOGLE_… and AZURE_… variables are"
            " for these"
        )


def secrets_of(url: str) -> tuple[str, ...]:
    """Return what is secret in a URL that was checked, as it stands there and as it is read."""
    # Not urlsplit: it reads one host, and refuses several of which a later one is [IPv6].
    before_path, _, query = url.partition("://")[2].partition("?")
    login = before_path.rpartition("@")[0]
    words = [login.partition(":")[2]]
    for field in query.split("&"):
        name, _, value = field.partition("=")
        if "password" in name.lower():
            words.append(value)
    return tuple({word for raw in words if raw for word in (raw, unquote(raw))})


def each_host(url: str) -> tuple[str, ...]:
    """Return one URL per host of a PostgreSQL URL that was checked, in their order."""
    scheme, _, rest = url.partition("://")
    before_path = re.split(r"[/?]", rest, maxsplit=1)[0]
    login, at, hosts = before_path.rpartition("@")
    after = rest[len(before_path) :]
    return tuple(f"{scheme}://{login}{at}{host}{after}" for host in hosts.split(","))


def shown(value: object) -> str:
    """Return a value for a message, without what could be a password in an address, and short."""
    text = str(value)
    if "@" in text:
        text = f"…@{text.rpartition('@')[2]}"
    if "://" in text and "?" in text:
        text = f"{text.partition('?')[0]}?…"
    return repr(text if len(text) <= 200 else f"{text[:199]}…")


def parse_roots(value: str) -> dict[str, Path]:
    """Return the roots that `name=/path;other=/path2` describes.

    Raises:
        ValueError: a part is not `name=/absolute/path`, or a name stands twice.
    """
    roots: dict[str, Path] = {}
    for part in filter(None, (piece.strip() for piece in value.split(";"))):
        name, separator, path = part.partition("=")
        if not separator or not name.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"{part!r} is not name=/absolute/path")
        if not Path(path).is_absolute() or name in roots:
            raise ValueError(f"{part!r}: the path must be absolute and the name unique")
        roots[name] = Path(path)
    return roots


def _check_visible(text: str) -> None:
    if _UNSEEN.search(text):
        raise ValueError("has a blank or a control character inside")


def _check_port(host: str, *, may_lack: bool) -> None:
    """Check what follows the last colon; colons inside of `[…]` belong to an IPv6 address."""
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        if may_lack:
            return
        raise ValueError("names no port")
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
        raise ValueError(f"has a port that is no number from 1 to 65535: {_ESCAPES}")
    if not name and not may_lack:
        raise ValueError("names no host")
    if ":" in name and not name.endswith("]"):
        raise ValueError("has more than one colon: an IPv6 address stands in [brackets]")
