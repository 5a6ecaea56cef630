"""`/images/tags` and `/queries`: ask, and look what became of it."""

import re
from http import HTTPStatus

from starlette.responses import Response

from core.storage.delivery.listing import DeliveryStatus
from core.storage.queries.queries import QueryStatus
from ingress.accepting import keep_query
from ingress.auth.api_keys import Scope
from ingress.http.problems import Extra, FieldError, Problem
from ingress.http.waiting import wait_until
from ingress.models.requests import QueryRequest
from ingress.models.responses import AcceptedQuery, ShownQuery
from ingress.operations import Answer, Call, Operation, Parameter, json_response

IDEMPOTENCY_KEY = "Idempotency-Key"
_KEY = "^[!-~]{1,255}$"
MAX_WAIT_S = 30.0
_FINAL = frozenset({"delivered", "dead"})


async def submit(call: Call) -> Response:
    """Accept a sentence; its answer goes to the callback address."""
    key = _idempotency_key(call)
    asked = await call.body(QueryRequest)
    limit = call.parts.max_query_chars
    if len(asked.text) > limit:
        detail = f"text has {len(asked.text)} characters; the limit is {limit}"
        raise Problem("invalid_request", detail, Extra(errors=(FieldError("/text", detail),)))
    await call.parts.departures.check_room()
    query_id, verdict = await keep_query(call, asked, key)
    link = call.parts.link(f"/queries/{query_id}")
    headers = {"Location": link}
    if verdict == "same":
        headers["Idempotency-Replayed"] = "true"
    return json_response(
        AcceptedQuery(query_id=query_id, links={"self": link}), HTTPStatus.ACCEPTED, headers
    )


async def show(call: Call) -> Response:
    """Return a query with its answer and deliveries; `?wait=` waits for them."""
    query_id = call.path_id("query_id")
    within_s = call.seconds("wait", most=MAX_WAIT_S)
    tables = call.parts.tables

    async def look() -> QueryStatus:
        async with tables.database.connection() as connection:
            status = await tables.queries.status(connection, query_id)
        if status is None or not call.caller.owns(status.owner):
            raise Problem("query_not_found", f"no query {query_id}")
        return status

    status = await wait_until(look, _is_settled, within_s=within_s)
    headers = {} if _is_settled(status) else {"Retry-After": "1"}
    return json_response(_shown(call, status), headers=headers)


def _is_settled(status: QueryStatus) -> bool:
    if status.status != "answered":
        return False
    # Between the answer and its row on the schedule lies a topic: no row yet means wait.
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
    path = f"/queries/{status.query_id}"
    return ShownQuery.model_validate(
        {
            "query_id": status.query_id,
            "status": status.status,
            "text": status.text,
            "callback_url": status.callback_url,
            "options": status.options,
            "answer": status.answer,
            "accepted_at": status.accepted_at,
            "answered_at": status.answered_at,
            "deliveries": [_delivery(one) for one in status.deliveries],
            "links": {"self": call.parts.link(path)},
        }
    )


def _delivery(delivery: DeliveryStatus) -> dict[str, object]:
    return {
        "delivery_id": delivery.delivery_id,
        "url": delivery.url,
        "state": delivery.state,
        "attempt": delivery.attempt,
        "next_at": delivery.next_at if delivery.state not in _FINAL else None,
        "reason": delivery.reason,
        "finished_at": delivery.finished_at,
        "attempts": delivery.attempts,
    }


_PROBLEMS = (
    "malformed_json", "invalid_request", "unsupported_media_type", "body_too_large",
    "receive_timeout", "callback_forbidden", "idempotency_key_reused",
)  # fmt: skip
OPERATIONS = (
    Operation(
        "POST",
        "/images/tags",
        submit,
        "Ask for the best image of a sentence",
        "queries",
        (
            Answer(
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
        (Answer(200, "All that is known of it.", ShownQuery),),
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
)
