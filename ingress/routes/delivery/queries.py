"""`/images/tags` and `/queries`: submit a query, look at it, list and delete queries."""

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, TypeVar, get_args
from uuid import UUID

from starlette.responses import Response

from core.egress.targets import host_name, lane_of
from core.errors import TargetForbidden
from core.storage.delivery import deliveries
from core.storage.delivery.listing import DeliveryStatus
from core.storage.queries import queries, query_deletion, query_pages
from core.storage.queries.queries import QueryStatus
from core.storage.queries.query_pages import (
    ListedQuery,
    Outcome,
    QueryFilter,
    State,
    Status,
    state_of,
)
from core.webhooks.signature import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER
from ingress.accepting import keep_query
from ingress.auth.api_keys import Scope
from ingress.http.cursors import CURSOR, cursor_of, limit_of, page_before
from ingress.http.parameters import read_moment, refuse_unknown, wrong
from ingress.http.problems import Extra, FieldError, Problem
from ingress.http.repeating import IDEMPOTENCY_KEY, KEY_PATTERN, REPLAYED, idempotency_key
from ingress.http.waiting import wait_until
from ingress.models.delivery.queries import (
    AcceptedQuery,
    DeletedQuery,
    QueryPage,
    QueryRequest,
    QuerySummary,
    QueryTotal,
    ShownDelivery,
    ShownQuery,
    SignatureHelp,
    StoppedQuery,
)
from ingress.operations import Call, Operation, Parameter, Reply, json_response

MAX_WAIT_S = 30.0
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
_PARAMETERS = frozenset(
    {
        "cursor", "from", "host", "limit", "order", "outcome", "state", "status", "text", "to",
        "total",
    }
)  # fmt: skip
ChoiceT = TypeVar("ChoiceT")
_FINAL = frozenset({"delivered", "dead"})


async def submit(call: Call) -> Response:
    """Accept a query; its answer goes to the callback address."""
    key = idempotency_key(call)
    asked = await call.body(QueryRequest)
    limit = call.deps.max_query_chars
    if len(asked.text) > limit:
        detail = f"text has {len(asked.text)} characters; the limit is {limit}"
        raise Problem("invalid_request", detail, Extra(errors=(FieldError("/text", detail),)))
    await call.deps.departures.check_room()
    query_id, verdict = await keep_query(call, asked, key)
    link = call.link(f"/queries/{query_id}")
    headers = {"Location": link}
    if verdict == "same":
        headers[REPLAYED] = "true"
    return json_response(
        AcceptedQuery(query_id=query_id, links={"self": link}), HTTPStatus.ACCEPTED, headers
    )


async def show(call: Call) -> Response:
    """Return a query with its answer and deliveries; `?wait=` waits until it is delivered."""
    query_id = call.path_id("query_id")
    within_s = call.seconds("wait", most=MAX_WAIT_S)
    if within_s:
        call.hold_waiting()

    async def look() -> QueryStatus:
        async with call.deps.pool.connection() as connection:
            status = await queries.status(connection, query_id)
        if status is None or not call.caller.owns(status.owner):
            raise Problem("query_not_found", f"no query {query_id}")
        return status

    status = await wait_until(look, _is_settled, call.wait_limits(within_s))
    headers = {} if _is_settled(status) else {"Retry-After": "1"}
    return json_response(_shown(call, status), headers=headers)


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


async def stop(call: Call) -> Response:
    """Stop what is left of a query's webhooks: none is sent any more, and redelivery can resume.

    An attempt under way comes to its end, and nothing follows it unless it delivers.
    """
    query_id = call.path_id("query_id")
    async with call.deps.pool.transaction() as tx:
        status = await queries.status(tx, query_id)
        if status is None or not call.caller.owns(status.owner):
            raise Problem("query_not_found", f"no query {query_id}")
        ended = await deliveries.stop(tx, query_id, by=call.caller.owner)
    if not ended:
        raise Problem(
            "nothing_to_stop",
            f"no webhook of query {query_id} waits or is under way: they have ended, or there is no"
            " answer yet",
        )
    return json_response(
        StoppedQuery(
            query_id=query_id, stopped=ended.get("dead", 0), under_way=ended.get("leased", 0)
        )
    )


async def delete(call: Call) -> Response:
    """Delete a query with its webhooks: none is sent any more, and a pending query is not answered.

    A webhook that is being sent at this moment may still arrive. The query's `Idempotency-Key`, if
    it had one, stays used.
    """
    query_id = call.path_id("query_id")
    async with call.deps.pool.transaction() as tx:
        gone = await query_deletion.delete(tx, query_id, owner=call.own_only)
    if gone is None:
        raise Problem("query_not_found", f"no query {query_id}")
    return json_response(DeletedQuery.of(gone, query_id=query_id))


def _is_settled(status: QueryStatus) -> bool:
    if status.status != "answered":
        return False
    # The answer reaches the deliveries through a topic: without a delivery, wait.
    return bool(status.deliveries) and all(one.state in _FINAL for one in status.deliveries)


def _shown(call: Call, status: QueryStatus) -> ShownQuery:
    newest = status.deliveries[-1] if status.deliveries else None
    return ShownQuery.of(
        status,
        deliveries=[_delivery(one) for one in status.deliveries],
        links=_links(call, status.query_id),
        host=_host_of(newest.target if newest else lane_of(status.callback_url)),
        signature_help=SignatureHelp(
            webhook_id=newest.delivery_id if newest else None,
            headers=(ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER),
        ),
        **_fate(newest),
    )


def _fate(newest: DeliveryStatus | None) -> dict[str, Any]:
    """Return what happens next with a query's newest webhook, as lists tell it."""
    if newest is None:
        nothing = dict.fromkeys(("next_at", "waits_for", "waits_until"))
        return {"state": "waiting", "attempts": 0, **nothing}
    return {
        "state": state_of(newest.state, newest.attempt, newest.reason),
        "attempts": newest.attempt,
        "next_at": newest.next_at if newest.state == "due" else None,
        "waits_for": newest.waits_for,
        "waits_until": newest.waits_until,
    }


def _summary(call: Call, listed: ListedQuery) -> QuerySummary:
    return QuerySummary.of(
        listed,
        links=_links(call, listed.query_id),
        host=_host_of(listed.target or lane_of(listed.callback_url)),
    )


def _host_of(target: str) -> str:
    return target.partition("://")[2].rpartition(":")[0].strip("[]")


def _delivery(delivery: DeliveryStatus) -> ShownDelivery:
    next_at = delivery.next_at if delivery.state not in _FINAL else None
    return ShownDelivery.of(delivery, next_at=next_at)


def _links(call: Call, query_id: UUID) -> dict[str, str]:
    return {"self": call.link(f"/queries/{query_id}")}


def _filter(call: Call) -> QueryFilter:
    refuse_unknown(call, _PARAMETERS)
    return QueryFilter(
        owner=call.own_only,
        status=_choice(call, "status", {one: one for one in STATUSES}),
        since=read_moment(call, "from"),
        until=read_moment(call, "to"),
        text=_words(call, "text"),
        host=_host(call),
        outcome=_choice(call, "outcome", OUTCOMES),
        state=_choice(call, "state", {one: one for one in STATES}),
        by_next_attempt=_choice(call, "order", {one: one == "next_at" for one in ORDERS}) or False,
        before=page_before(call),
    )


def _choice(call: Call, name: str, choices: Mapping[str, ChoiceT]) -> ChoiceT | None:
    text = call.request.query_params.get(name)
    if text is None or text in choices:
        return None if text is None else choices[text]
    raise wrong(name, f"{text[:100]!r} is not one of {', '.join(choices)}")


def _words(call: Call, name: str) -> str | None:
    text = call.request.query_params.get(name)
    if text is not None and (not 1 <= len(text) <= MAX_TEXT_CHARS or "\x00" in text):
        raise wrong(name, f"1 to {MAX_TEXT_CHARS} characters, none of them NUL")
    return text


def _host(call: Call) -> str | None:
    text = call.request.query_params.get("host")
    try:
        return None if text is None else host_name(text)
    except TargetForbidden as error:
        raise wrong("host", str(error)) from error


_PROBLEMS = (
    "malformed_json", "invalid_request", "unsupported_media_type", "body_too_large",
    "receive_timeout", "callback_forbidden", "idempotency_key_reused",
)  # fmt: skip
_TEXT = (("type", "string"),)
_DATE = (*_TEXT, ("format", "date-time"))
_SHORT = (*_TEXT, ("minLength", 1), ("maxLength", MAX_TEXT_CHARS))
OPERATIONS = (
    Operation(
        "POST",
        "/images/tags",
        submit,
        "Ask for the best image of a sentence",
        "queries",
        (
            Reply(
                202,
                "Kept; the answer goes to `callback_url` as a signed webhook.",
                AcceptedQuery,
                headers=(
                    ("Location", "Where the query's status is."),
                    (REPLAYED, "`true` where this key came before."),
                ),
            ),
        ),
        scope=Scope.QUERY,
        body=QueryRequest,
        parameters=(
            Parameter(
                IDEMPOTENCY_KEY,
                "header",
                "The same key asks once, however often it is sent.",
                (("type", "string"), ("pattern", KEY_PATTERN)),
            ),
        ),
        problems=_PROBLEMS,
    ),
    Operation(
        "GET",
        "/queries/{query_id}",
        show,
        "A query, its answer and its deliveries",
        "queries",
        (Reply(200, "All that is known of it.", ShownQuery),),
        scope=Scope.QUERY,
        parameters=(
            Parameter(
                "wait",
                "query",
                "Seconds to wait until it is answered and delivered.",
                (("type", "number"), ("minimum", 0), ("maximum", MAX_WAIT_S)),
            ),
        ),
        problems=("query_not_found", "invalid_request"),
    ),
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
    Operation(
        "POST",
        "/queries/{query_id}/stop",
        stop,
        "Stop what is left of a query's webhooks",
        "queries",
        (Reply(200, "Stopped; redelivery takes them up again.", StoppedQuery),),
        scope=Scope.QUERY,
        problems=("query_not_found", "nothing_to_stop"),
    ),
    Operation(
        "DELETE",
        "/queries/{query_id}",
        delete,
        "Delete a query and its webhooks",
        "queries",
        (Reply(200, "Deleted; it is not answered any more.", DeletedQuery),),
        scope=Scope.QUERY,
        problems=("query_not_found",),
    ),
)
