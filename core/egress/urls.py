"""How URLs are spelled: read strictly, written canonically, and the names of their targets.

Pure, and without the operator's rules: those are in `targets`.
"""

import re
from urllib.parse import SplitResult, quote, urlsplit

from core.egress.hosts import MAX_HOST_CHARS, canonical_host
from core.errors import TargetForbidden

MAX_URL_CHARS = 2048  # what browsers and proxies agree on
DEFAULT_PORTS = {"https": 443, "http": 80}
MAX_PORT = 65_535

# Parsers disagree on these: urllib drops tabs and line ends, browsers turn \ into /.
_FORBIDDEN_CHARACTERS = re.compile(r"[\x00-\x20\x7f\\\ud800-\udfff]")
_BRACKETS = re.compile(r"[^\[\]]*|([^\[\]]*@)?\[[0-9a-fA-F:.]+\](:[0-9]*)?")
_PORT = re.compile(r"[0-9]{1,5}")
#: What goes out as it came in: a receiver may have signed the URL, letter by letter.
_AS_IT_IS = "".join(map(chr, range(0x21, 0x7F)))


def split_url(url: str) -> SplitResult:
    """Return the parts of a URL that every parser reads alike.

    Raises:
        TargetForbidden: what it has that some parsers read in another way.
    """
    if len(url) > MAX_URL_CHARS:
        raise TargetForbidden(f"the URL has {len(url)} characters, more than {MAX_URL_CHARS}")
    if _FORBIDDEN_CHARACTERS.search(url):
        raise TargetForbidden("the URL has a space, a control character or a backslash in it")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise TargetForbidden(f"{url!r} is not a URL: {error}") from error
    if "%" in parts.netloc.rpartition("@")[2]:
        raise TargetForbidden("the host must not be percent-encoded or carry a zone")
    if not _BRACKETS.fullmatch(parts.netloc):
        raise TargetForbidden("brackets must hold an IPv6 address and nothing else")
    return parts


def port_of(parts: SplitResult) -> int:
    """Return the port that a request goes to: the one written, else its scheme's.

    Raises:
        TargetForbidden: what is written is no port.
    """
    try:
        port = parts.port
    except ValueError as error:
        raise TargetForbidden(f"{parts.netloc!r} has no usable port: {error}") from error
    return DEFAULT_PORTS[parts.scheme] if port is None else port


def rebuild(url: str, parts: SplitResult, host: str, port: int) -> str:
    """Return a URL with its host in canonical form, and the rest byte for byte, without fragment.

    Only what cannot be written in a request is encoded: characters beyond ASCII.
    """
    netloc = host if port == DEFAULT_PORTS[parts.scheme] else f"{host}:{port}"
    rest = url.partition("#")[0][len(f"{parts.scheme}://{parts.netloc}") :]
    path = rest if rest.startswith("/") else f"/{rest}"
    written = f"{parts.scheme}://{netloc}{quote(path, safe=_AS_IT_IS)}"
    if len(written) > MAX_URL_CHARS:
        raise TargetForbidden(
            f"the URL has {len(written)} characters in ASCII, more than {MAX_URL_CHARS}"
        )
    return written


def host_name(host: str) -> str:
    """Return the host as operators name it: canonical, an IPv6 address without brackets.

    Raises:
        TargetForbidden: as `canonical_host`.
    """
    return canonical_host(host.removeprefix("[").removesuffix("]"))[0].strip("[]")


def target_of(scheme: str, host: str, port: str) -> str:
    """Return the target that these parts name, as `target_name` does.

    Raises:
        TargetForbidden: a part is not what it should be.
    """
    if scheme.lower() not in DEFAULT_PORTS:
        raise TargetForbidden(f"{scheme!r} is neither http nor https")
    if not _PORT.fullmatch(port) or not 0 < int(port) <= MAX_PORT:
        raise TargetForbidden(f"{port!r} is not a port")
    name, _ = canonical_host(host.removeprefix("[").removesuffix("]"))
    return f"{scheme.lower()}://{name}:{int(port)}"


def target_name(url: str) -> str:
    """Return the target of a URL as operators name it: `scheme://host:port`, the port written.

    Raises:
        TargetForbidden: the text is no URL with a host, or has a scheme without a port of its own.
    """
    parts = split_url(url)
    if parts.scheme not in DEFAULT_PORTS:
        raise TargetForbidden(f"{parts.scheme or '(none)'!r} is neither http nor https")
    return f"{parts.scheme}://{canonical_host(parts.hostname or '')[0]}:{port_of(parts)}"


def lane_of(url: str) -> str:
    """Return the target of a callback, which has a lane of its own: `scheme://host:port`.

    A URL that is none has its text up to the path, without user and password: it is refused before
    anything is sent, and until then it waits in a lane like the others.
    """
    try:
        return target_name(url)
    except TargetForbidden:
        scheme, _, rest = url.partition("://")
        return f"{scheme}://{rest.partition('/')[0].rpartition('@')[2]}"[:MAX_HOST_CHARS]
