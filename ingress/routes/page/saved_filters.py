"""`/filters`: filters that people keep under a name."""

from http import HTTPStatus

from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response

from core.storage.finding import saved_filters
from ingress.auth.api_keys import Scope
from ingress.http.parameters import wrong
from ingress.http.problems import Problem
from ingress.http.wording import said
from ingress.models.page.filters import (
    MAX_NAME_CHARS,
    FilterName,
    SavedFilter,
    SavedFilters,
    SavingFilter,
)  # fmt: skip
from ingress.operations import Call, Operation, Parameter, Reply, json_response
from ingress.reading.filters import check_text
from ingress.routes.page.changes import as_sent

_NAMES = TypeAdapter[str](FilterName)
_NAME = Parameter(
    "name",
    "path",
    "What it is called, for its owner.",
    (("type", "string"), ("minLength", 1), ("maxLength", MAX_NAME_CHARS)),
)


async def list_filters(call: Call) -> Response:
    """Return the filters of the key's owner."""
    found = await saved_filters.of_owner(call.deps.pool, call.caller.owner)
    return json_response(SavedFilters(filters=tuple(map(_shown, found))))


async def put(call: Call) -> Response:
    """Keep a filter under a name, in place of what had it."""
    name = _name(call)
    wanted = (await call.body(SavingFilter)).filter
    check_text(call, wanted.text)
    async with call.deps.pool.transaction() as tx:
        kept = await saved_filters.put(tx, call.caller.owner, name, as_sent(wanted))
    if kept is None:
        raise Problem("too_many_filters", f"the limit is {saved_filters.MOST_FILTERS} of an owner")
    return json_response(_shown(kept))


async def forget(call: Call) -> Response:
    """Forget a filter."""
    name = _name(call)
    if not await saved_filters.delete(call.deps.pool, call.caller.owner, name):
        raise Problem("filter_not_found", f"no filter {name!r}")
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _name(call: Call) -> str:
    try:
        return _NAMES.validate_python(call.request.path_params["name"], strict=True)
    except ValidationError as error:
        raise wrong("name", said(error.errors(include_url=False)[0])) from error


def _shown(kept: saved_filters.KeptFilter) -> SavedFilter:
    return SavedFilter.of(kept, filter=dict(kept.filter))


OPERATIONS = (
    Operation(
        "GET",
        "/filters",
        list_filters,
        "Filters that you keep",
        "images",
        (Reply(200, "By name.", SavedFilters),),
        scope=Scope.READ,
        problems=("invalid_request",),
    ),
    Operation(
        "PUT",
        "/filters/{name}",
        put,
        "Keep a filter under a name",
        "images",
        (Reply(200, "Kept.", SavedFilter),),
        scope=Scope.READ,
        body=SavingFilter,
        parameters=(_NAME,),
        problems=(
            "malformed_json", "receive_timeout", "body_too_large", "unsupported_media_type",
            "invalid_request", "too_many_filters",
        ),
    ),
    Operation(
        "DELETE",
        "/filters/{name}",
        forget,
        "Forget a filter",
        "images",
        (Reply(204, "Forgotten."),),
        scope=Scope.READ,
        parameters=(_NAME,),
        problems=("filter_not_found", "invalid_request"),
    ),
)  # fmt: skip
