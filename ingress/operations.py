"""The route table: each operation with what it takes, needs and returns."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from core.errors import TransientError
from ingress.auth.access import Principal, client_address
from ingress.auth.api_keys import Scope
from ingress.dependencies import Dependencies
from ingress.http.bodies import MIN_BYTES_PER_S, BodyPace, read_model
from ingress.http.problems import Extra, FieldError, Problem
from ingress.http.waiting import WaitLimits

ModelT = TypeVar("ModelT", bound=BaseModel)
ResultT = TypeVar("ResultT")
# Python's int() and float() also read spaces, underscores and the digits of all scripts.
_WHOLE = re.compile(r"[0-9]{1,9}")
_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,3})?")
ROUTE = "photo_archive.route"  # scope key: the route's template, for metrics and logs
#: Schema of bytes that are no text: so the generators of clients know them.
BINARY = {"type": "string", "format": "binary"}
HELD = "photo_archive.held"  # scope key: an ExitStack that is left when the answer has been sent


@dataclass(frozen=True, slots=True)
class Call:
    """A request as handlers get it; `principal` is None only on public routes."""

    request: Request
    deps: Dependencies
    principal: Principal | None

    @property
    def caller(self) -> Principal:
        """The principal of the request.

        Raises:
            Problem: the request came without a key.
        """
        if self.principal is None:
            raise Problem("key_missing", "this needs an API key")
        return self.principal

    @property
    def own_only(self) -> str | None:
        """The owner whose rows the caller may see; None: an administrator, who sees all rows."""
        return self.caller.own_only

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context of the request."""
        value = self.request.scope.get("traceparent")
        return value if isinstance(value, str) else None

    @property
    def pace(self) -> BodyPace:
        """How slowly the body may come."""
        return BodyPace(self.deps.settings.receive_timeout_s, MIN_BYTES_PER_S)

    def link(self, path: str) -> str:
        """Return the address of a path here, as clients reach it."""
        return self.deps.base_url + path

    def path_id(self, name: str) -> UUID:
        """Return the UUID in the path."""
        value = self.request.path_params[name]
        return value if isinstance(value, UUID) else UUID(str(value))

    def seconds(self, name: str, *, most: float) -> float:
        """Return a query parameter in seconds; 0 where it is absent.

        Raises:
            Problem: `invalid_request`.
        """
        text = self.request.query_params.get(name)
        if text is None:
            return 0.0
        value = float(text) if _NUMBER.fullmatch(text) else -1.0
        if not 0 <= value <= most:
            detail = f"{name}={text[:40]!r} is not a number of seconds from 0 to {most:g}"
            raise Problem("invalid_request", detail, Extra(errors=(FieldError(name, detail),)))
        return value

    def whole(self, name: str, default: int, *, least: int, most: int) -> int:
        """Return a query parameter that is a whole number.

        Raises:
            Problem: `invalid_request`.
        """
        text = self.request.query_params.get(name, str(default))
        if not _WHOLE.fullmatch(text) or not least <= int(text) <= most:
            detail = f"{name}: {text[:40]!r} is not a number from {least} to {most}"
            raise Problem("invalid_request", detail, Extra(errors=(FieldError(name, detail),)))
        return int(text)

    def memory(self, size: int) -> AbstractContextManager[None]:
        """Reserve `size` bytes of memory for this caller while the block runs.

        Raises:
            Problem: `overloaded`, `rate_limited`.
        """
        return self.deps.guards.bodies.reserved(size, self.holder)

    def hold(self, held: AbstractContextManager[None]) -> None:
        """Hold what this reserves until the answer has been sent; raises as entering it does."""
        stack: ExitStack = self.request.scope[HELD]
        stack.enter_context(held)

    def hold_waiting(self) -> None:
        """Count this request among those that wait, until its answer has been sent.

        Raises:
            Problem: `rate_limited` where the caller waits for as much as it may already;
                `overloaded`.
        """
        self.hold(self.deps.guards.places.waiting.reserved(1, self.holder))

    def wait_limits(self, within_s: float) -> WaitLimits:
        """Return how this caller waits: not after it has gone, nor when the process stops."""
        return WaitLimits(within_s, self.waiting_pause_s, self._goes_on)

    def waiting_pause_s(self) -> float:
        """Return the least pause between two looks of this caller's waiting requests."""
        return self.deps.guards.places.pause_s(self.holder)

    async def unless_gone(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Return what the work comes to; it is cancelled where the client goes away before.

        For requests without a body.

        Raises:
            ClientDisconnect: the client has gone.
        """
        working, going = asyncio.create_task(work), asyncio.create_task(self._gone())
        try:
            await asyncio.wait({working, going}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise ClientDisconnect
        finally:
            for task in (working, going):
                task.cancel()
            await asyncio.gather(working, going, return_exceptions=True)

    async def _gone(self) -> None:
        while (await self.request.receive())["type"] != "http.disconnect":
            pass

    async def _goes_on(self) -> bool:
        return (
            self.deps.readiness.is_ready
            and not await self.request.is_disconnected()
            and await self.is_still_allowed()
        )

    async def is_still_allowed(self) -> bool:
        """Tell whether the request's key or session still holds, for what lasts: streams, waits.

        It is looked up as often as for a request, every few seconds at most, and while nothing can
        be looked up, what was right goes on.
        """
        if self.principal is None:
            return True
        try:
            await self.deps.guards.ring_of(self.request).principal_of(self.request)
        except Problem:
            return False
        except TransientError:
            return True
        return True

    @property
    def holder(self) -> str:
        """The name under which counts what the request holds: the key's id, or the address."""
        return client_address(self.request) if self.principal is None else self.principal.key_id

    async def body(self, model: type[ModelT]) -> ModelT:
        """Return the JSON body as `model`; raises as `read_model`."""
        return await read_model(
            self.request, model, max_bytes=self.deps.max_json_bytes, pace=self.pace
        )


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Reply:
    """A documented response that is not a problem.

    Attributes:
        model: of a JSON body; None where the body is of `media_type` or empty.
        headers: name -> meaning.
        as_events: whether `Accept: text/event-stream` gets it as a stream of events.
    """

    status: int
    meaning: str
    model: type[BaseModel] | None = None
    media_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    as_events: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that an operation reads; ids in the path are documented without one."""

    name: str
    place: str  # query | header | path
    meaning: str
    schema: tuple[tuple[str, Any], ...] = (("type", "string"),)
    is_required: bool = False  # those in the path always are


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path.

    Attributes:
        scope: the scope that the key needs; None: no key is needed, or any will do.
        any_key: whether a key or a session is needed, whatever its scopes.
        body: model of a JSON body.
        media: content types of a body that is not JSON, with their OpenAPI description.
        problems: codes of problems, beyond those that every operation may return.
        takes_links: whether a signed link replaces the key.
        is_probe: whether an orchestrator asks it: always answered, whoever else asks.
        is_thumb: whether it counts in the rate of thumbnails.
        ignores_query: whether any query parameter may come with it: elsewhere one that is not
            among `parameters` is an error, since it may be a misspelled one.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    group: str
    replies: tuple[Reply, ...]
    scope: Scope | None = None
    any_key: bool = False
    body: type[BaseModel] | None = None
    media: tuple[tuple[str, dict[str, Any]], ...] = ()
    parameters: tuple[Parameter, ...] = ()
    problems: tuple[str, ...] = ()
    takes_links: bool = False
    is_probe: bool = False
    is_thumb: bool = False
    ignores_query: bool = False

    @property
    def needs_key(self) -> bool:
        """Whether it is for holders of a key, or those who are signed in with one."""
        return self.scope is not None or self.any_key


def json_response(
    model: BaseModel, status: int = 200, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Return a model as a response."""
    return JSONResponse(model.model_dump(mode="json"), status_code=status, headers=headers)
