"""`GET /queries`: one's queries, by what they ask and by what becomes of their webhooks."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar, get_args
from uuid import UUID

from starlette.responses import Response

from core.egress.urls import host_name, lane_of
from core.errors import TargetForbidden
from core.storage.queries import query_pages
from core.storage.queries.query_looks import Outcome, QueryFilter, State, Status
from core.storage.queries.query_pages import ListedQuery
from ingress.auth.api_keys import Scope
from ingress.http.cursors import CURSOR, cursor_of, limit_of, page_before
from ingress.http.parameters import read_moment, text_of, wrong
from ingress.models.delivery.queries import QueryPage, QuerySummary, QueryTotal
from ingress.operations import Call, Operation, Parameter, Reply, json_response
from ingress.routes.delivery.queries import host_of_target, links_of

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
STATUSES: tuple[Status, ...] = get_args(Status)
OUTCOMES: Mapping[str, Outcome] = {
    "completed": "query.completed",
    "no_match": "query.no_match",
    "failed": "query.failed",
    "none": "none",
}
STATES: tuple[State, ...] = get_args(State)
ORDERS = ("newest", "next_at")
MAX_TEXT_CHARS = 200
ChoiceT = TypeVar("ChoiceT")


async def list_queries(call: Call) -> Response:
    """Return the caller's queries, or all of them for an administrator, the newest first.

    The next page begins behind the last query of this one: queries that arrive meanwhile neither
    repeat nor hide any.
    """
    limit = call.whole("limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
    wanted = _filter(call)
    counts = _choice(call, "total", {"true": True, "false": False})
    found = await query_pages.page(call.deps.pool, wanted, limit)
    total = None
    if counts:
        counted = await query_pages.count(call.deps.pool, replace(wanted, before=None))
        total = QueryTotal.of(counted)
    return json_response(
        QueryPage(
            queries=tuple(_summary(call, one) for one in found.queries),
            next=cursor_of(*found.next) if found.next else None,
            total=total,
        )
    )


def _summary(call: Call, listed: ListedQuery) -> QuerySummary:
    return QuerySummary.of(
        listed,
        links=links_of(call, listed.query_id),
        host=host_of_target(listed.target or lane_of(listed.callback_url)),
    )


def _filter(call: Call) -> QueryFilter:
    return QueryFilter(
        owner=call.own_only,
        status=_choice(call, "status", {one: one for one in STATUSES}),
        since=read_moment(call, "from"),
        until=read_moment(call, "to"),
        text=text_of(call, "text", most=MAX_TEXT_CHARS),
        host=_host(call),
        outcome=_choice(call, "outcome", OUTCOMES),
        image_id=_image(call),
        state=_choice(call, "state", {one: one for one in STATES}),
        by_next_attempt=_choice(call, "order", {one: one == "next_at" for one in ORDERS}) or False,
        before=page_before(call),
    )


def _choice(call: Call, name: str, choices: Mapping[str, ChoiceT]) -> ChoiceT | None:
    text = call.request.query_params.get(name)
    if text is None or text in choices:
        return None if text is None else choices[text]
    raise wrong(name, f"{text[:100]!r} is not one of {', '.join(choices)}")


def _host(call: Call) -> str | None:
    text = call.request.query_params.get("host")
    try:
        return None if text is None else host_name(text)
    except TargetForbidden as error:
        raise wrong("host", str(error)) from error


def _image(call: Call) -> UUID | None:
    text = call.request.query_params.get("image")
    if text is None:
        return None
    try:
        return UUID(text)
    except ValueError as error:
        raise wrong("image", f"{text[:100]!r} is no id of an image") from error


_TEXT = (("type", "string"),)
_DATE = (*_TEXT, ("format", "date-time"))
_SHORT = (*_TEXT, ("minLength", 1), ("maxLength", MAX_TEXT_CHARS))
OPERATIONS = (
    Operation(
        "GET",
        "/queries",
        list_queries,
        "One's queries, page by page",
        "queries",
        (Reply(200, "At most `limit` queries, the newest first.", QueryPage),),
        scope=Scope.QUERY,
        parameters=(
            limit_of(MAX_LIMIT),
            CURSOR,
            Parameter("status", "query", "Only this status.", (*_TEXT, ("enum", list(STATUSES)))),
            Parameter("text", "query", "Only whose text has this in it, in any case.", _SHORT),
            Parameter("host", "query", "Only with this host in the callback URL.", _SHORT),
            Parameter("outcome", "query", "Only so answered.", (*_TEXT, ("enum", list(OUTCOMES)))),
            Parameter(
                "image",
                "query",
                "Only whose answer this image is.",
                (*_TEXT, ("format", "uuid")),
            ),
            Parameter(
                "state",
                "query",
                "Only where this happens next with the newest webhook.",
                (*_TEXT, ("enum", list(STATES))),
            ),
            Parameter(
                "order",
                "query",
                "`next_at`: what waits for an attempt, the next one first.",
                (*_TEXT, ("enum", list(ORDERS))),
            ),
            Parameter("total", "query", "Count them.", (*_TEXT, ("enum", ["true", "false"]))),
            Parameter("from", "query", "Only queries accepted then or later.", _DATE),
            Parameter("to", "query", "Only queries accepted before.", _DATE),
        ),
        problems=("invalid_request",),
    ),
)
