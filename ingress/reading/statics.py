"""The page's own files and those of lit-html: read, checked and compressed once at the start.

What is served is what was read: no request opens a file, so no path can lead out of these folders.
"""

import gzip
import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

SHELL = "index.html"
DIGEST = "{digest}"  # in the shell: replaced by that of the page's files
LIT_HTML = "lit-html 3.3.1"
#: Of the WebJar org.webjars.npm:lit-html:3.3.1, as `standalone/kafka/kafka-jars.lock` has it.
LIT_HTML_SHA256 = "61fd4d7bb1656052061cfa758610ff4d91e65fe4980f606f4d8713679cadb6e0"
_LIT_HTML_FOLDER = "META-INF/resources/webjars/lit-html/3.3.1/"
#: Its folders of modules that browsers load; others are for servers and for debugging.
_LIT_HTML_PLACES = ("", "directives/")
_LICENSE = "LICENSE"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HTML = "text/html; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"
_DIGEST_CHARS = 16


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is sent: plain, and compressed for clients that take gzip.

    Attributes:
        tag: the entity tag of the plain form, without quotes.
    """

    plain: bytes
    compressed: bytes
    media_type: str
    tag: str

    @classmethod
    def of(cls, content: bytes, media_type: str) -> "StaticFile":
        """Return a file with these bytes."""
        packed = gzip.compress(content, mtime=0)  # the same bytes at each start
        tag = hashlib.sha256(content).hexdigest()[:_DIGEST_CHARS]
        return cls(content, packed, media_type, tag)


@dataclass(frozen=True, slots=True)
class PageFiles:
    """What the page is made of.

    Attributes:
        shell: the document at `/`.
        digest: of all files; it is part of their addresses, so that they never change.
        files: name below the digest -> file.
        lacking: why there is no page, in words; empty where there is one.
    """

    shell: StaticFile
    digest: str
    files: Mapping[str, StaticFile]
    lacking: str


def read_page(folder: Path, lit_html: Path | None) -> PageFiles:
    """Return the page of a folder.

    Args:
        folder: has the shell, the modules and the styles, side by side.
        lit_html: the WebJar; None: not told.
    """
    lit, lacking = _read_lit_html(lit_html)
    contents = {**_read_folder(folder), **lit}
    template = (folder / SHELL).read_text(encoding="utf-8")
    digest = _digest({**contents, SHELL: template.encode()})
    return PageFiles(
        shell=StaticFile.of(template.replace(DIGEST, digest).encode(), _HTML),
        digest=digest,
        files={name: StaticFile.of(content, _kind(name)) for name, content in contents.items()},
        lacking=lacking,
    )


def _read_folder(folder: Path) -> dict[str, bytes]:
    files = sorted(folder.iterdir())
    return {one.name: one.read_bytes() for one in files if one.suffix in _MEDIA_TYPES}


def _read_lit_html(jar: Path | None) -> tuple[dict[str, bytes], str]:
    """Return lit-html's files by their names below the digest, or why there are none.

    The jar stays packed: what was checked is what is served, and nothing is written that a name in
    it could send elsewhere.
    """
    if jar is None:
        return {}, "INGRESS_LIT_HTML is not set"
    try:
        content = jar.read_bytes()
    except OSError as error:
        return {}, f"{jar.name} cannot be read: {error.strerror}"
    found = hashlib.sha256(content).hexdigest()
    if found != LIT_HTML_SHA256:
        return {}, f"the SHA-256 of {jar.name} is {found}, not {LIT_HTML_SHA256}"
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        inside = (name.removeprefix(_LIT_HTML_FOLDER) for name in packed.namelist())
        return {
            f"lit/{name}": packed.read(_LIT_HTML_FOLDER + name)
            for name in inside
            if name == _LICENSE or _is_module(name)
        }, ""


def _is_module(name: str) -> bool:
    place, _, last = name.rpartition("/")
    return last.endswith(".js") and (f"{place}/" if place else "") in _LIT_HTML_PLACES


def _digest(contents: Mapping[str, bytes]) -> str:
    """Return a digest over names and bytes: any change gives all files other addresses."""
    each = (f"{name}\0{hashlib.sha256(contents[name]).hexdigest()}\n" for name in sorted(contents))
    return hashlib.sha256("".join(each).encode()).hexdigest()[:_DIGEST_CHARS]


def _kind(name: str) -> str:
    return _MEDIA_TYPES.get(PurePosixPath(name).suffix, _TEXT)
