"""Convert the bytes of a file's name to a URI, and back. Pure.

A name on Linux is bytes, a URI is text, and one file must have exactly one URI, because the image's
identity is derived from it. So valid UTF-8 is unchanged (Cyrillic is readable, NFC and NFD are two
names); `%`, control characters and bytes that are not UTF-8 are written `%XX`. Parsing is strict: a
text that this module would not write is refused with a message that has the right spelling.
"""

import re
from dataclasses import dataclass

from core.errors import ImageMissing

#: `schemas.image.ImageArrived.uri` takes no more.
MAX_URI_CHARS = 4000
SCHEME = "file:"

_ESCAPE = re.compile(rb"%([0-9A-F]{2})")
#: C0 and C1 controls, DEL, and `%` itself; U+2028 and U+2029 break lines in logs.
_UNSAFE = re.compile(r"[\x00-\x1f%\x7f-\x9f\u2028\u2029\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class RootedPath:
    """A file or directory under a named root.

    Attributes:
        root: the root's name.
        relative: path below the root, bytes as the file system has them; empty for the root.
    """

    root: str
    relative: bytes

    @property
    def uri(self) -> str:
        """Return `file:<root>/<relative path>`: the canonical, only spelling."""
        return f"{SCHEME}{self.image_path}"

    @property
    def image_path(self) -> str:
        """Return what people see and may send back: the URI less its scheme."""
        return f"{self.root}/{encode_name(self.relative)}" if self.relative else self.root


def encode_name(name: bytes) -> str:
    """Return the text of a path's bytes: reversible, without control characters."""
    text = name.decode("utf-8", "surrogateescape")
    return _UNSAFE.sub(_escape, text)


def decode_name(text: str) -> bytes:
    """Return the bytes that `encode_name` made `text` of.

    Raises:
        ImageMissing: (`uri_not_canonical`) the text is spelled otherwise than `encode_name` would.
    """
    try:
        name = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), text.encode())
    except UnicodeEncodeError as error:
        raise ImageMissing(
            f"{text!r} is not UTF-8 text: write each byte as %XX", reason="uri_not_canonical"
        ) from error
    if (canonical := encode_name(name)) != text:
        raise ImageMissing(
            f"{text!r} is no canonical path: write {canonical!r}, or {_literal(text)!r}"
            " where the name itself contains '%'",
            reason="uri_not_canonical",
        )
    return name


def parse_file_uri(uri: str) -> RootedPath:
    """Return the place that a `file:` URI names.

    Raises:
        ImageMissing: not `file:<root>/<relative path>` in its canonical spelling.
    """
    return parse_image_path(uri.removeprefix(SCHEME))


def parse_image_path(text: str) -> RootedPath:
    """Return the place that `<root>/<relative path>` names; `<root>` alone is the root.

    Raises:
        ImageMissing: absolute, with `..`, `.`, an empty part or NUL, or not canonical.
    """
    root, separator, rest = text.partition("/")
    relative = decode_name(rest.removesuffix("/"))
    if not root or (separator and not is_safe(relative) and relative):
        raise ImageMissing(
            f"{text!r} is not <root name>/<relative path> without '.', '..' or empty parts",
            reason="path_refused",
        )
    return RootedPath(root, relative)


def is_safe(relative: bytes) -> bool:
    """Return whether a path stays below its root, read lexically: no `.`, `..`, empty part, NUL."""
    parts = relative.split(b"/")
    return b"\x00" not in relative and not any(part in (b"", b".", b"..") for part in parts)


def _escape(match: re.Match[str]) -> str:
    raw = match[0].encode("utf-8", "surrogateescape")
    return "".join(f"%{byte:02X}" for byte in raw)


def _literal(text: str) -> str:
    return encode_name(text.encode("utf-8", "replace"))
