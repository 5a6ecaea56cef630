"""`/targets`: hold or resume the webhooks of a callback target: scheme, host and port."""

from starlette.responses import Response

from core.egress.hosts import MAX_HOST_CHARS
from core.egress.targets import DEFAULT_PORTS, MAX_PORT, target_of
from core.errors import TargetForbidden
from core.storage.delivery import targets
from core.storage.delivery.targets import TargetState
from ingress.auth.api_keys import Scope
from ingress.http.problems import Problem
from ingress.models.delivery.targets import ShownTarget, ShownTargets, TargetChange
from ingress.operations import Call, Operation, Parameter, Reply, json_response


async def disable(call: Call) -> Response:
    """Hold a target's webhooks until it is resumed."""
    change, target = await call.body(TargetChange), _target(call)
    async with call.deps.pool.transaction() as tx:
        await targets.disable(tx, target, actor=call.caller.owner, reason=change.reason)
    return await list_targets(call)


async def resume(call: Call) -> Response:
    """Let a target's webhooks go on."""
    change, target = await call.body(TargetChange), _target(call)
    async with call.deps.pool.transaction() as tx:
        await targets.resume(tx, target, actor=call.caller.owner, reason=change.reason)
    return await list_targets(call)


async def list_targets(call: Call) -> Response:
    """Return the targets that were ever disabled."""
    found = await targets.list_targets(call.deps.pool)
    return json_response(ShownTargets(targets=tuple(_shown(one) for one in found)))


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


def _shown(state: TargetState) -> ShownTarget:
    return ShownTarget.of(state, is_disabled=state.disabled_at is not None)


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
        "Callback targets that were disabled",
        "webhooks",
        (Reply(200, "The newest change first; at most 1,000.", ShownTargets),),
        scope=Scope.ADMIN,
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
