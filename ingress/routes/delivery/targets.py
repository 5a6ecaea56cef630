"""`/targets`: hold or resume the webhooks of a callback target: scheme, host and port."""

from collections.abc import Sequence
from typing import get_args

from starlette.responses import Response

from core.egress.hosts import MAX_HOST_CHARS
from core.egress.urls import DEFAULT_PORTS, MAX_PORT, target_of
from core.errors import TargetForbidden
from core.storage.delivery import target_pages, targets
from core.storage.delivery.target_pages import ListedTarget, State
from ingress.auth.api_keys import Scope
from ingress.http.cursors import CURSOR, cursor_of_name, limit_of, page_after_name
from ingress.http.parameters import text_of, wrong
from ingress.http.problems import Problem
from ingress.models.delivery.targets import ShownTarget, ShownTargets, TargetChange
from ingress.operations import Call, Operation, Parameter, Reply, json_response

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
STATES: tuple[State, ...] = get_args(State)


async def disable(call: Call) -> Response:
    """Hold a target's webhooks until it is resumed; once more: keep the new reason, and whose."""
    change, target = await call.body(TargetChange), _target(call)
    async with call.deps.pool.transaction() as tx:
        await targets.disable(tx, target, actor=call.caller.owner, reason=change.reason)
        return _answer(await target_pages.of(tx, [target]))


async def resume(call: Call) -> Response:
    """Let a target's webhooks go on. One that was never disabled keeps no reason."""
    change, target = await call.body(TargetChange), _target(call)
    async with call.deps.pool.transaction() as tx:
        await targets.resume(tx, target, actor=call.caller.owner, reason=change.reason)
        return _answer(await target_pages.of(tx, [target]))


async def list_targets(call: Call) -> Response:
    """Return the targets where webhooks wait, or were sent within a day, or that were disabled."""
    state, text = call.request.query_params.get("state"), text_of(call, "q", most=MAX_HOST_CHARS)
    if state is not None and state not in STATES:
        raise wrong("state", f"{state[:100]!r} is not one of {', '.join(STATES)}")
    found = await target_pages.page(
        call.deps.pool,
        after=page_after_name(call) or "",
        text=text,
        state=state,
        limit=call.whole("limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT),
    )
    return _answer(found.targets, None if found.next is None else cursor_of_name(found.next))


def _target(call: Call) -> str:
    """Return the target of the path as deliveries have it.

    Raises:
        Problem: `target_not_found`: no URL has such a target. What a host may be no schema can say,
            so that this is no fault of the request's form.
    """
    parts = call.request.path_params
    try:
        return target_of(parts["scheme"], parts["host"], parts["port"])
    except TargetForbidden as error:
        raise Problem("target_not_found", str(error)) from error


def _answer(found: Sequence[ListedTarget], follows: str | None = None) -> Response:
    shown = (ShownTarget.of(one, is_disabled=one.disabled_at is not None) for one in found)
    return json_response(ShownTargets(targets=tuple(shown), next=follows))


_TEXT = (("type", "string"),)
TARGET = (
    Parameter("scheme", "path", "As in URLs.", (*_TEXT, ("enum", list(DEFAULT_PORTS)))),
    Parameter(
        "host",
        "path",
        "Name or address, as in the callback URL.",
        (*_TEXT, ("minLength", 1), ("maxLength", MAX_HOST_CHARS)),
    ),
    Parameter(
        "port",
        "path",
        "443 and 80 where the URL has none.",
        (("type", "integer"), ("minimum", 1), ("maximum", MAX_PORT)),
    ),
)
_PROBLEMS = (
    "target_not_found", "malformed_json", "receive_timeout", "body_too_large",
    "unsupported_media_type", "invalid_request",
)  # fmt: skip
OPERATIONS = (
    Operation(
        "GET",
        "/targets",
        list_targets,
        "Callback targets, page by page",
        "webhooks",
        (Reply(200, "By name.", ShownTargets),),
        scope=Scope.ADMIN,
        parameters=(
            limit_of(MAX_LIMIT),
            CURSOR,
            Parameter(
                "q",
                "query",
                "Only with this in its name.",
                (*_TEXT, ("minLength", 1), ("maxLength", MAX_HOST_CHARS)),
            ),
            Parameter(
                "state", "query", "Only those that are so.", (*_TEXT, ("enum", list(STATES)))
            ),
        ),
        problems=("invalid_request",),
    ),
    Operation(
        "POST",
        "/targets/{scheme}/{host}/{port}/disable",
        disable,
        "Hold a callback target's webhooks",
        "webhooks",
        (Reply(200, "They wait; no attempt is charged.", ShownTargets),),
        scope=Scope.ADMIN,
        body=TargetChange,
        parameters=TARGET,
        problems=_PROBLEMS,
    ),
    Operation(
        "POST",
        "/targets/{scheme}/{host}/{port}/resume",
        resume,
        "Let a callback target's webhooks go on",
        "webhooks",
        (Reply(200, "They are due again.", ShownTargets),),
        scope=Scope.ADMIN,
        body=TargetChange,
        parameters=TARGET,
        problems=_PROBLEMS,
    ),
)
