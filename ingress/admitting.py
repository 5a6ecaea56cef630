"""Which request an operation gets: checks key or session, scope, rate and place before it runs."""

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import request_response
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from core.errors import PermanentError
from core.webhooks.links import SIGNATURE, check_link
from ingress.auth.access import HEADER, Principal, require
from ingress.dependencies import Dependencies
from ingress.http.idling import SEAT, Seat
from ingress.http.problems import Extra, FieldError, Problem
from ingress.http.turns import HOLDER
from ingress.operations import ROUTE, Call, Operation

SINGLE_HEADERS = (HEADER, "Idempotency-Key", "Content-Type", "X-CSRF-Token")
LARGE_BYTES = 256 * 1024  # of a document: 30,000 labels make 6 MB


class MethodSwitch:
    """The operations of one path, by method; a 405 names all of them."""

    def __init__(self, operations: Sequence[Operation], deps: Dependencies) -> None:
        self._apps = {one.method: request_response(_endpoint(one, deps)) for one in operations}
        self._allow = ", ".join(sorted({*self._apps, *(["HEAD"] if "GET" in self._apps else [])}))

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            HTTPException: 405, no operation has the method.
        """
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        app = self._apps.get(method)
        if app is None:
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": self._allow})
        await app(scope, receive, send)


def _endpoint(operation: Operation, deps: Dependencies) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that checks key, scope and rate before the body is read."""

    async def serve(request: Request) -> Response:
        request.scope[ROUTE] = operation.path
        call = await _admitted(request, operation, deps)
        if not operation.is_probe:
            HOLDER.set(call.holder)
        if not operation.ignores_query:
            _refuse_unknown(request, operation)
        response = await operation.handler(call)
        if isinstance(response, JSONResponse) and len(response.body) > LARGE_BYTES:
            call.hold(call.memory(len(response.body)))  # a slow reader's answers count
        return response

    return serve


def _refuse_unknown(request: Request, operation: Operation) -> None:
    """Refuse the first query parameter that the operation does not read, and name those it does."""
    known = {one.name for one in operation.parameters if one.place == "query"}
    unknown = request.query_params.keys() - known
    if not unknown:
        return
    name = min(unknown)[:100]
    which = f"the known ones are {', '.join(sorted(known))}" if known else "none is known here"
    detail = f"{name}: an unknown query parameter; {which}"
    raise Problem("invalid_request", detail, Extra(errors=(FieldError(name, detail),)))


def _refuse_repeated(request: Request) -> None:
    """Refuse headers of one value that come twice: who reads the other one would differ."""
    for name in SINGLE_HEADERS:
        if (times := len(request.headers.getlist(name))) > 1:
            detail = f"the header {name} stands {times} times; it takes one value"
            raise Problem("malformed_request", detail)


async def _admitted(request: Request, operation: Operation, deps: Dependencies) -> Call:
    """Return the call of a request that may be served; it holds its place until it is answered."""
    if operation.is_probe:
        return Call(request, deps, None)
    _refuse_repeated(request)
    stranger, places = Call(request, deps, None), deps.guards.places
    by_link = operation.takes_links and SIGNATURE in request.query_params
    if not operation.needs_key or by_link:
        deps.guards.rate.take(stranger.holder)
        stranger.hold(places.keyless.reserved(1, stranger.holder))
        if by_link:
            _check_link(request, deps)
        return stranger
    principal = await _principal(request, stranger, operation)
    request.scope.update(owner=principal.owner, key_id=principal.key_id)
    if isinstance(seat := request.scope.get(SEAT), Seat):
        seat.holder = principal.key_id
    rate = deps.guards.thumb_rate if operation.is_thumb else deps.guards.rate
    rate.take(principal.key_id)
    if operation.scope is not None:
        require(principal, operation.scope)
    return Call(request, deps, principal)


async def _principal(request: Request, stranger: Call, operation: Operation) -> Principal:
    """Return who sent a request, which holds a place of the key's."""
    guards = stranger.deps.guards
    asks_for_session = operation.any_key and HEADER not in request.headers
    ring = guards.sessions if asks_for_session else guards.ring_of(request)
    if known := ring.remembered(request):
        stranger.hold(guards.places.keyed.reserved(1, known))
        return await ring.principal_of(request)
    # Until the key is known, the request is one of its address: keys can be invented.
    with guards.places.keyless.reserved(1, stranger.holder):
        principal = await ring.principal_of(request)
    stranger.hold(guards.places.keyed.reserved(1, principal.key_id))
    return principal


def _check_link(request: Request, deps: Dependencies) -> None:
    # Built from the scope: `request.url` contains the Host header, which the client chooses.
    query = request.scope["query_string"].decode("latin-1")
    try:
        check_link(f"{request.scope['path']}?{query}", keys=deps.guards.link_keys, now=deps.now())
    except PermanentError as error:
        raise Problem("link_invalid", str(error)) from error
