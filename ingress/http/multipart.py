"""Parse multipart/form-data as a stream of files: one file in memory at a time, none on disk.

Starlette's own form parser spools all files to disk first and knows no limit per file.
"""

import hashlib
import io
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ingress.http.problems import Extra, FieldError, Problem

FIELD = "file"
MAX_HEADERS = 8  # per part; browsers send two
MAX_PREAMBLE_BYTES = 4096  # of words for readers without MIME, before the first boundary
MAX_HEADER_BYTES = 4096
#: In one of the two encodings that RFC 5987 asks for.
_EXTENDED = re.compile(
    r";\s*filename\*\s*=\s*\"?(?P<charset>utf-8|iso-8859-1)'[^']*'(?P<value>[^;\s\"]*)",
    re.IGNORECASE,
)
#: A name as a program writes it into an address: nothing in it needs an escape.
_AS_ADDRESS = re.compile(r"(?:[-A-Za-z0-9._~!*'();/?:@&=+$,#]|%[0-9A-Fa-f]{2})+")
#: Of what no program escapes: such a percent sign is the name's own.
_NEVER_ESCAPED = re.compile(r"%(?:2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])")
#: What browsers escape, and nothing else (HTML, "multipart/form-data encoding algorithm").
_BY_BROWSERS = re.compile(r"%(?:22|0[AaDd])")


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """One file of a request.

    Attributes:
        content: None where the file is over the limit; its bytes were dropped.
        size_bytes: of the whole file, also where it is over the limit.
    """

    filename: str
    content: bytes | None
    size_bytes: int
    sha256: bytes


@dataclass(slots=True)
class FileBuffer:
    """Collects the bytes of one file and hashes them; past the limit it only counts."""

    max_bytes: int
    filename: str = ""
    size_bytes: int = 0
    _bytes: io.BytesIO = field(default_factory=io.BytesIO)
    _hash: _Digest = field(default_factory=hashlib.sha256)

    def write(self, piece: bytes) -> None:
        """Add the next bytes."""
        self.size_bytes += len(piece)
        if self.size_bytes > self.max_bytes:
            self._bytes = io.BytesIO()
            return
        self._bytes.write(piece)
        self._hash.update(piece)

    def finish(self) -> ReceivedFile:
        """Return the file, without copying its bytes."""
        is_whole = self.size_bytes <= self.max_bytes
        content = self._bytes.getvalue() if is_whole else None
        return ReceivedFile(self.filename, content, self.size_bytes, self._hash.digest())


async def read_files(
    pieces: AsyncIterator[bytes], content_type: str, *, max_file_bytes: int, max_files: int
) -> AsyncGenerator[ReceivedFile, None]:
    """Yield the files of a multipart body, each as soon as it is complete.

    Raises:
        Problem: `malformed_multipart`, `too_many_files`, `invalid_request` for a part that is not
            named `file`; and what `pieces` raises.
    """
    parts = _Parts(max_file_bytes, max_files)
    boundary = _boundary(content_type)
    parser = _parser(boundary, parts)
    async for piece in _after_preamble(pieces, b"--" + boundary):
        try:
            parser.write(piece)
        except FormParserError as error:
            raise _malformed(_why(error, parts.begun)) from error
        while parts.finished:
            yield parts.finished.popleft()
        if parts.problem is not None:
            raise parts.problem
    if not parts.is_complete:
        raise _malformed("the body ends before its closing boundary")


class _Parts:
    """Callbacks of the parser: they collect finished files, or the first problem."""

    def __init__(self, max_file_bytes: int, max_files: int) -> None:
        self._max_file_bytes = max_file_bytes
        self._max_files = max_files
        self._count = 0
        self.begun = 0  # parts, whatever their names
        self._header = (b"", b"")
        self._disposition = b""
        self._current: FileBuffer | None = None
        self.finished: deque[ReceivedFile] = deque()
        self.problem: Problem | None = None
        self.is_complete = False

    def on_part_begin(self) -> None:
        self._disposition, self._current = b"", None
        self.begun += 1

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0] + data[start:end], self._header[1])

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0], self._header[1] + data[start:end])

    def on_header_end(self) -> None:
        if self._header[0].lower() == b"content-disposition":
            self._disposition = self._header[1]
        self._header = (b"", b"")

    def on_headers_finished(self) -> None:
        if self.problem is not None:
            return
        _, options = parse_options_header(self._disposition.strip())
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name != FIELD:
            self.problem = _unknown_part(name)
            return
        self._count += 1
        if self._count > self._max_files:
            self.problem = Problem(
                "too_many_files", f"more than {self._max_files} files in one request"
            )
            return
        self._current = FileBuffer(self._max_file_bytes, filename_of(self._disposition))

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current is not None and self.problem is None:
            self._current.write(data[start:end])

    def on_part_end(self) -> None:
        if self._current is not None and self.problem is None:
            self.finished.append(self._current.finish())
        self._current = None

    def on_end(self) -> None:
        self.is_complete = True


def filename_of(disposition: bytes) -> str:
    """Return the file name in a `Content-Disposition`; '' where there is none.

    Some clients write it as `filename*=UTF-8''na%C3%AFve.jpg` (RFC 5987, against RFC 7578). In
    `filename` browsers escape quotes and line breaks alone, while some programs escape the whole
    name as in an address: it is taken for that where nothing else in it would need an escape and
    no letter, digit, `-`, `.`, `_` or `~` is escaped (RFC 3986, 2.3).
    """
    if extended := _EXTENDED.search(disposition.decode("latin-1")):
        return unquote(extended["value"], extended["charset"], "replace")
    _, options = parse_options_header(disposition.strip())
    name = options.get(b"filename", b"").decode("utf-8", "replace")
    if _AS_ADDRESS.fullmatch(name) and not _NEVER_ESCAPED.search(name):
        try:
            return unquote(name, errors="strict")
        except UnicodeDecodeError:
            pass  # its percent signs are its own, but for those of a browser
    return _BY_BROWSERS.sub(lambda found: unquote(found[0]), name)


async def _after_preamble(
    pieces: AsyncIterator[bytes], delimiter: bytes
) -> AsyncGenerator[bytes, None]:
    """Yield a body from its first boundary on; the parser takes nothing before it."""
    begun: bytes | None = b""
    async for piece in pieces:
        if begun is None:
            yield piece
            continue
        begun += piece
        start = 0 if begun.startswith(delimiter) else begun.find(b"\r\n" + delimiter) + 2
        is_there = start >= 2 or begun.startswith(delimiter)
        if is_there and start <= MAX_PREAMBLE_BYTES:
            yield begun[start:]
            begun = None
        elif is_there or len(begun) > MAX_PREAMBLE_BYTES + len(delimiter):
            raise _malformed(f"no boundary within the first {MAX_PREAMBLE_BYTES} bytes")
    if begun:
        yield begun  # the parser says what is wrong with it


def _boundary(content_type: str) -> bytes:
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise _malformed("the content type names no boundary")
    return boundary


def _parser(boundary: bytes, parts: _Parts) -> MultipartParser:
    try:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": parts.on_part_begin,
                "on_part_data": parts.on_part_data,
                "on_part_end": parts.on_part_end,
                "on_header_field": parts.on_header_field,
                "on_header_value": parts.on_header_value,
                "on_header_end": parts.on_header_end,
                "on_headers_finished": parts.on_headers_finished,
                "on_end": parts.on_end,
            },
            max_header_count=MAX_HEADERS,
            max_header_size=MAX_HEADER_BYTES,
        )
    except FormParserError as error:
        raise _malformed(str(error)) from error


def _why(error: FormParserError, part: int) -> str:
    """Return what the parser says; of a bound of ours it names neither the part nor the bound."""
    said = str(error)
    if said.startswith("Maximum header size"):
        return (
            f"part {part}: a header line (its file name is part of one) of more than"
            f" {MAX_HEADER_BYTES} bytes, which is the limit"
        )
    if said.startswith("Maximum header count"):
        return f"part {part}: more than {MAX_HEADERS} header lines, which is the limit"
    return f"part {part}: {said}" if part else said


def _malformed(why: str) -> Problem:
    return Problem("malformed_multipart", why)


def _unknown_part(name: str) -> Problem:
    detail = f"parts must be named {FIELD!r}; this one is {name[:100]!r}"
    return Problem("invalid_request", detail, Extra(errors=(FieldError(f"/{name[:100]}", detail),)))
