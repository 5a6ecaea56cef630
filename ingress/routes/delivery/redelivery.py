"""`/queries/…/redeliver`: send webhooks again."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from core.egress.urls import host_name
from core.errors import TargetForbidden
from core.storage import asking
from core.storage.delivery import redelivery
from core.storage.delivery.redelivery import STATES, Redelivered, RedeliveryChoice
from core.storage.queries import queries
from ingress.auth.api_keys import Scope
from ingress.http.problems import Extra, FieldError, Problem
from ingress.http.repeating import (
    KEY,
    PROBLEMS,
    REPLAYED,
    REPLAYED_HEADER,
    answer_before,
    asked_once,
)
from ingress.models.delivery.redelivery import (
    Redelivery,
    RedeliveryRequest,
)
from ingress.operations import Call, Operation, Reply, json_response

SHOWN_IDS = 100


async def redeliver_one(call: Call) -> Response:
    """Send a query's webhook again: a pending one at once, a delivered one as a new webhook."""
    query_id = call.path_id("query_id")
    wanted = RedeliveryChoice(states=STATES, query_id=query_id)
    once = asked_once(call, "redeliver one", query_id)
    async with call.deps.pool.transaction() as tx:
        status = await queries.status(tx, query_id)
        if status is None or not call.caller.owns(status.owner):
            raise Problem("query_not_found", f"no query {query_id}")
        if before := await answer_before(tx, once):
            return _again(before)
        matched = await redelivery.count(tx, wanted)
        done = await redelivery.redeliver(tx, wanted, limit=1)
        if not done.count:
            raise Problem(
                "nothing_to_redeliver",
                f"query {query_id} has no webhook that waits or has ended: it is under way, or "
                "there is no answer yet",
            )
        answer = _outcome(matched, done, attempt=next(iter(done.attempts.values())))
        if once is not None:
            await asking.answer(tx, once, answer.model_dump(mode="json"))
    return json_response(answer, HTTPStatus.ACCEPTED)


async def redeliver_many(call: Call) -> Response:
    """Send the matching webhooks again: the caller's own, or all for an administrator."""
    asked = await call.body(RedeliveryRequest)
    wanted = RedeliveryChoice(
        states=asked.filter.states,
        owner=call.own_only,
        host=None if asked.filter.host is None else _host(asked.filter.host),
        since=asked.filter.since,
        until=asked.filter.until,
    )
    once = asked_once(call, "redeliver", asked)
    if asked.dry_run:
        once = None
    async with call.deps.pool.transaction() as tx:
        if before := await answer_before(tx, once):
            return _again(before)
        matched = await redelivery.count(tx, wanted)
        done = Redelivered()
        if not asked.dry_run:
            done = await redelivery.redeliver(tx, wanted, limit=asked.limit)
        answer = _outcome(matched, done)
        if once is not None:
            await asking.answer(tx, once, answer.model_dump(mode="json"))
    return json_response(answer, HTTPStatus.ACCEPTED)


def _again(before: Mapping[str, Any]) -> Response:
    """Return what the first request with this key was answered."""
    answer = Redelivery.model_validate(before)
    return json_response(answer, HTTPStatus.ACCEPTED, {REPLAYED: "true"})


def _outcome(matched: dict[str, int], done: Redelivered, attempt: int | None = None) -> Redelivery:
    return Redelivery(
        matched=matched,
        redelivered=done.count,
        attempt=attempt,
        webhook_ids=(*done.again, *done.anew)[:SHOWN_IDS],
    )


def _host(text: str) -> str:
    """Return the host name as deliveries have it."""
    try:
        return host_name(text)
    except TargetForbidden as error:
        raise Problem(
            "invalid_request", str(error), Extra(errors=(FieldError("host", str(error)),))
        ) from error


_BODY_PROBLEMS = (
    "malformed_json", "receive_timeout", "body_too_large", "unsupported_media_type",
    "invalid_request",
)  # fmt: skip
OPERATIONS = (
    Operation(
        "POST",
        "/queries/{query_id}/redeliver",
        redeliver_one,
        "Send a query's webhook again",
        "queries",
        (Reply(202, "It is due now.", Redelivery, headers=(REPLAYED_HEADER,)),),
        scope=Scope.QUERY,
        parameters=(KEY,),
        problems=("query_not_found", "nothing_to_redeliver", "invalid_request", *PROBLEMS),
    ),
    Operation(
        "POST",
        "/queries/redeliver",
        redeliver_many,
        "Send webhooks again, by host, state and time",
        "queries",
        (
            Reply(
                202,
                "They are due now, or only counted.",
                Redelivery,
                headers=(REPLAYED_HEADER,),
            ),
        ),
        scope=Scope.QUERY,
        body=RedeliveryRequest,
        parameters=(KEY,),
        problems=(*_BODY_PROBLEMS, *PROBLEMS),
    ),
)
