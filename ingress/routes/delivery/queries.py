"""`/images/tags` and `/queries`: submit a query, look at it, list and delete queries."""

import re
from http import HTTPStatus
from typing import get_args
from uuid import UUID

from starlette.responses import Response

from core.storage.delivery.listing import DeliveryStatus
from core.storage.queries import queries, query_deletion, query_pages
from core.storage.queries.queries import QueryStatus
from core.storage.queries.query_pages import QueryFilter, Status
from ingress.accepting import keep_query
from ingress.auth.api_keys import Scope
from ingress.http.cursors import CURSOR, cursor_of, limit_of, page_before
from ingress.http.parameters import read_moment, refuse_unknown, wrong
from ingress.http.problems import Extra, FieldError, Problem
from ingress.http.waiting import wait_until
from ingress.models.delivery.queries import (
    AcceptedQuery,
    DeletedQuery,
    QueryPage,
    QueryRequest,
    QuerySummary,
    ShownDelivery,
    ShownQuery,
)
from ingress.operations import Call, Operation, Parameter, Reply, json_response

IDEMPOTENCY_KEY = "Idempotency-Key"
_KEY = "^[!-~]{1,255}$"
MAX_WAIT_S = 30.0
DEFAULT_LIMIT = 50
MAX_LIMIT = 200
STATUSES: tuple[Status, ...] = get_args(Status)
_PARAMETERS = frozenset({"status", "from", "to", "cursor", "limit"})
_FINAL = frozenset({"delivered", "dead"})


async def submit(call: Call) -> Response:
    """Accept a query; its answer goes to the callback address."""
    key = _idempotency_key(call)
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
        headers["Idempotency-Replayed"] = "true"
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
    found = await query_pages.page(call.deps.pool, _filter(call), limit + 1)
    last = found[limit - 1] if len(found) > limit else None
    return json_response(
        QueryPage(
            queries=tuple(
                QuerySummary.of(one, links=_links(call, one.query_id)) for one in found[:limit]
            ),
            next=cursor_of(last.accepted_at, last.query_id) if last else None,
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


def _idempotency_key(call: Call) -> str | None:
    key = call.request.headers.get(IDEMPOTENCY_KEY)
    if key is not None and not re.fullmatch(_KEY, key):
        detail = f"{IDEMPOTENCY_KEY} takes 1 to 255 printable ASCII characters without spaces"
        raise Problem(
            "invalid_request", detail, Extra(errors=(FieldError(IDEMPOTENCY_KEY, detail),))
        )
    return key


def _shown(call: Call, status: QueryStatus) -> ShownQuery:
    return ShownQuery.of(
        status,
        deliveries=[_delivery(one) for one in status.deliveries],
        links=_links(call, status.query_id),
    )


def _delivery(delivery: DeliveryStatus) -> ShownDelivery:
    next_at = delivery.next_at if delivery.state not in _FINAL else None
    return ShownDelivery.of(delivery, next_at=next_at)


def _links(call: Call, query_id: UUID) -> dict[str, str]:
    return {"self": call.link(f"/queries/{query_id}")}


def _filter(call: Call) -> QueryFilter:
    refuse_unknown(call, _PARAMETERS)
    return QueryFilter(
        owner=call.own_only,
        status=_status(call),
        since=read_moment(call, "from"),
        until=read_moment(call, "to"),
        before=page_before(call),
    )


def _status(call: Call) -> Status | None:
    text = call.request.query_params.get("status")
    for status in STATUSES:
        if text == status:
            return status
    if text is not None:
        raise wrong("status", f"{text[:100]!r} is not one of {', '.join(STATUSES)}")
    return None


_PROBLEMS = (
    "malformed_json", "invalid_request", "unsupported_media_type", "body_too_large",
    "receive_timeout", "callback_forbidden", "idempotency_key_reused",
)  # fmt: skip
_TEXT = (("type", "string"),)
_DATE = (*_TEXT, ("format", "date-time"))
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
                    ("Idempotency-Replayed", "`true` where this key came before."),
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
                (("type", "string"), ("pattern", _KEY)),
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
            Parameter("from", "query", "Only queries accepted then or later.", _DATE),
            Parameter("to", "query", "Only queries accepted before.", _DATE),
        ),
        problems=("invalid_request",),
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
