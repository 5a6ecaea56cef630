"""Reading request bodies within limits of size and time."""

import asyncio
import io
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import ClientDisconnect, Request

from ingress.http.problems import Extra, FieldError, Problem

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
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        if error.errors(include_input=False)[0]["type"] == "json_invalid":
            raise Problem("malformed_json", error.errors()[0]["msg"][:300]) from error
        raise _invalid(error, model) from error


def _invalid(error: ValidationError, model: type[BaseModel]) -> Problem:
    """Return the problem that lists every field that pydantic refused, with what was given.

    Unless the model says `hide_input_in_errors`: then it takes secrets.
    """
    is_told = not model.model_config.get("hide_input_in_errors")
    found = error.errors(include_url=False, include_context=False, include_input=is_told)
    fields = tuple(FieldError(_pointer(one["loc"]), _say(one)) for one in found[:MAX_FIELD_ERRORS])
    first = f"{fields[0].pointer or 'body'}: {fields[0].detail}"
    more = f"; and {len(found) - 1} more" if len(found) > 1 else ""
    return Problem("invalid_request", first + more, Extra(errors=fields))


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
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != "application/json" and not given.endswith("+json"):
        raise Problem(
            "unsupported_media_type",
            f"content type {given or '(none)'!r}; this takes application/json",
        )


def _pointer(location: tuple[int | str, ...]) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in location)


def _say(error: ErrorDetails) -> str:
    if "input" not in error or error["type"] in {"missing", "extra_forbidden"}:
        return error["msg"]
    shown = repr(error["input"])
    return f"{error['msg']} (got {shown if len(shown) <= 100 else shown[:99] + '…'})"


def _too_large(size: int, max_bytes: int) -> Problem:
    return Problem("body_too_large", f"{size} bytes or more; the limit is {max_bytes} bytes")
