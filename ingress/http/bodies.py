"""Reading request bodies within limits of size and time."""

import asyncio
import io
import json
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from ingress.http.problems import Extra, Problem
from ingress.http.wording import field_errors, shown

ModelT = TypeVar("ModelT", bound=BaseModel)
MAX_FIELD_ERRORS = 20
MAX_JSON_BYTES = 256 * 1024  # a text of 2,000 characters and a thousand labels fit in
MIN_BYTES_PER_S = 64 * 1024  # half a megabit: slower bodies end after INGRESS_RECEIVE_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class BodyPace:
    """How slowly a body may come: a fixed time, and more only for the bytes that have arrived.

    uvicorn has no time limit for bodies; without this one, a client that sends a byte a minute
    holds its connection for ever (docs/research/delivery.md, section 4).
    """

    grace_s: float
    min_bytes_per_s: float

    def allowed_s(self, received: int) -> float:
        """Return how many seconds the body may take in all, after so many bytes."""
        return self.grace_s + received / self.min_bytes_per_s


def check_announced(request: Request, max_bytes: int) -> None:
    """Raise if the Content-Length is over the limit, before a byte is read.

    Raises:
        Problem: `body_too_large`, or `malformed_request` where the length is no number.
    """
    announced = request.headers.get("content-length")
    if announced is None:
        return
    if not (announced.isascii() and announced.isdigit()):
        raise Problem("malformed_request", f"Content-Length {announced!r} is not a number")
    if int(announced) > max_bytes:
        raise _too_large(int(announced), max_bytes)


async def stream(
    request: Request, *, max_bytes: int, pace: BodyPace
) -> AsyncGenerator[bytes, None]:
    """Yield the body in pieces, as they come.

    Raises:
        Problem: `body_too_large`, `receive_timeout`, `unsupported_media_type` (compressed).
        ClientDisconnect: the client went away.
    """
    _check_encoding(request)
    loop = asyncio.get_running_loop()
    received, waited = 0, 0.0
    more = True
    while more:
        started = loop.time()
        try:
            async with asyncio.timeout(max(0.001, pace.allowed_s(received) - waited)):
                message = await request.receive()
        except TimeoutError as error:
            raise Problem(
                "receive_timeout",
                f"{received} bytes in {pace.allowed_s(received):.0f} s; the body may take"
                f" {pace.grace_s:g} s and a second more per {pace.min_bytes_per_s:g} bytes",
                Extra(headers={"Connection": "close"}),
            ) from error
        waited += loop.time() - started
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        received += len(piece)
        if received > max_bytes:
            raise _too_large(received, max_bytes)
        if piece:
            yield piece


async def read_whole(request: Request, *, max_bytes: int, pace: BodyPace) -> bytes:
    """Return the whole body, held in memory once.

    Raises:
        Problem: as `stream`.
    """
    check_announced(request, max_bytes)
    buffer = io.BytesIO()
    async for piece in stream(request, max_bytes=max_bytes, pace=pace):
        buffer.write(piece)
    return buffer.getvalue()  # CPython returns the buffer itself, without a copy


async def read_model(
    request: Request, model: type[ModelT], *, max_bytes: int, pace: BodyPace
) -> ModelT:
    """Return the JSON body as `model`.

    Raises:
        Problem: `unsupported_media_type`, `malformed_json`, `invalid_request` with one entry per
            field, or as `stream`.
    """
    _check_json_type(request)
    body = await read_whole(request, max_bytes=max_bytes, pace=pace)
    try:
        read = model.model_validate_json(body, strict=True)
    except ValidationError as error:
        if error.errors(include_input=False)[0]["type"] == "json_invalid":
            raise Problem("malformed_json", error.errors()[0]["msg"][:300]) from error
        raise _invalid(error, model, _parsed(body)) from error
    _parsed(body)
    return read


def _parsed(body: bytes) -> Any:
    """Return the values of a JSON body, of which pydantic has said that it is one.

    pydantic takes the last of repeated keys. Reading the body once more takes a tenth of the time
    that validating it does: 0.02 of 0.09 s for 240 kB, 0.03 of 0.9 s for 1.9 MB.

    Raises:
        Problem: `malformed_json`: an object has a key twice.
    """
    # No number is looked at: digits without end would be refused as a whole number.
    return json.loads(body, object_pairs_hook=_object, parse_int=float)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise Problem("malformed_json", f"the key {shown(twice)} stands twice in one object")
    return found


def _invalid(error: ValidationError, model: type[BaseModel], body: Any) -> Problem:
    """Return the problem that lists every field that pydantic refused, with what was given.

    Unless the model says `hide_input_in_errors`: then it takes secrets.
    """
    is_told = not model.model_config.get("hide_input_in_errors")
    found = field_errors(error, body, shows_input=is_told)
    first = f"{found[0].pointer or 'body'}: {found[0].detail}"
    more = f"; and {len(found) - 1} more" if len(found) > 1 else ""
    return Problem("invalid_request", first + more, Extra(errors=tuple(found[:MAX_FIELD_ERRORS])))


def _check_encoding(request: Request) -> None:
    """Refuse a compressed body: it would be unpacked to any size."""
    given = request.headers.get("content-encoding", "").strip().lower()
    if given not in ("", "identity"):
        raise Problem(
            "unsupported_media_type",
            f"content encoding {given[:100]!r}; send the body as it is",
            Extra(headers={"Accept-Encoding": "identity"}),
        )


def _check_json_type(request: Request) -> None:
    content_type = request.headers.get("content-type", "")
    given, options = parse_options_header(content_type)
    kind = given.decode("latin-1").strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise Problem(
            "unsupported_media_type",
            f"content type {kind[:100] or '(none)'!r}; this takes application/json",
        )
    charset = options.get(b"charset", b"utf-8").decode("latin-1").lower()
    if charset not in {"utf-8", "utf8"}:
        raise Problem(
            "unsupported_media_type", f"charset {charset[:100]!r}; this takes JSON in utf-8"
        )


def _too_large(size: int, max_bytes: int) -> Problem:
    return Problem("body_too_large", f"{size} bytes or more; the limit is {max_bytes} bytes")
