"""`/images/tags` and `/queries`: submit a query, look at it, list and delete queries."""

from http import HTTPStatus
from typing import Any
from uuid import UUID

from starlette.responses import Response

from core.egress.urls import lane_of
from core.storage.delivery import interventions
from core.storage.delivery.listing import DeliveryStatus
from core.storage.queries import queries, query_deletion
from core.storage.queries.queries import QueryStatus
from core.storage.queries.query_pages import state_of
from core.webhooks.signature import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER
from ingress.accepting import keep_query
from ingress.auth.api_keys import Scope
from ingress.http.problems import Extra, FieldError, Problem
from ingress.http.repeating import IDEMPOTENCY_KEY, KEY_PATTERN, REPLAYED, idempotency_key
from ingress.http.waiting import wait_until
from ingress.models.delivery.queries import (
    AcceptedQuery,
    DeletedQuery,
    QueryRequest,
    ShownDelivery,
    ShownQuery,
    SignatureHelp,
    StoppedQuery,
)
from ingress.operations import Call, Operation, Parameter, Reply, json_response

MAX_WAIT_S = 30.0
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


async def stop(call: Call) -> Response:
    """Stop what is left of a query's webhooks: none is sent any more, and redelivery can resume.

    An attempt under way comes to its end, and nothing follows it unless it delivers.
    """
    query_id = call.path_id("query_id")
    async with call.deps.pool.transaction() as tx:
        status = await queries.status(tx, query_id)
        if status is None or not call.caller.owns(status.owner):
            raise Problem("query_not_found", f"no query {query_id}")
        ended = await interventions.stop(tx, query_id, by=call.caller.owner)
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
        links=links_of(call, status.query_id),
        host=host_of_target(newest.target if newest else lane_of(status.callback_url)),
        signature_help=SignatureHelp(
            webhook_id=newest.delivery_id if newest else None,
            headers=(ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER),
        ),
        **_fate(newest),
    )


def _fate(newest: DeliveryStatus | None) -> dict[str, Any]:
    """Return what happens next with a query's newest webhook, as lists tell it."""
    if newest is None:
        nothing = dict.fromkeys(("next_at", "waits_for", "waits_until", "finished_at"))
        return {"state": "waiting", "attempts": 0, **nothing}
    return {
        "state": state_of(newest.state, newest.attempt, newest.reason),
        "attempts": newest.attempt,
        "next_at": newest.next_at if newest.state == "due" else None,
        "waits_for": newest.waits_for,
        "waits_until": newest.waits_until,
        "finished_at": newest.finished_at,
    }


def host_of_target(target: str) -> str:
    """Return the host in a target, as operators name it."""
    return target.partition("://")[2].rpartition(":")[0].strip("[]")


def _delivery(delivery: DeliveryStatus) -> ShownDelivery:
    next_at = delivery.next_at if delivery.state not in _FINAL else None
    state = state_of(delivery.state, delivery.attempt, delivery.reason)
    return ShownDelivery.of(delivery, next_at=next_at, state=state)


def links_of(call: Call, query_id: UUID) -> dict[str, str]:
    """Return the addresses of a query."""
    return {"self": call.link(f"/queries/{query_id}")}


_PROBLEMS = (
    "malformed_json", "invalid_request", "unsupported_media_type", "body_too_large",
    "receive_timeout", "callback_forbidden", "idempotency_key_reused",
)  # fmt: skip
_TEXT = (("type", "string"),)
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
