"""`/endpoints`: callback addresses with a signing secret of their own."""

from http import HTTPStatus

from starlette.responses import Response

from core.storage import keys
from core.storage.delivery import endpoints
from core.webhooks.signing_secrets import make_secret
from ingress.accepting import check_callback
from ingress.auth.access import require
from ingress.auth.api_keys import Scope
from ingress.http.problems import Problem
from ingress.models.delivery.endpoints import (
    EndpointRequest,
    MadeEndpoint,
    RemovedEndpoint,
    ShownEndpoint,
    ShownEndpoints,
)
from ingress.operations import Call, Operation, Reply, json_response


async def register(call: Call) -> Response:
    """Register a callback address; the answer shows its signing secret once."""
    asked = await call.body(EndpointRequest)
    if asked.operator_events:
        require(call.caller, Scope.ADMIN, "operator_events: ")
    box = call.deps.sealing
    if box is None:
        raise Problem("unavailable", "the operator has set no SECRETS_KEY")
    await check_callback(call, asked.url, "/url")
    owner, secret = call.caller.owner, make_secret()
    async with call.deps.pool.transaction() as tx:
        await keys.lock_owner(tx, owner)
        if await endpoints.count(tx, owner) >= endpoints.MAX_PER_OWNER:
            raise Problem("endpoint_exists", f"{endpoints.MAX_PER_OWNER} addresses are the limit")
        made = await endpoints.add(
            tx, owner=owner, url=asked.url, name=asked.name, operator_events=asked.operator_events
        )
        if made is None:
            raise Problem("endpoint_exists", f"{asked.url[:300]!r} is registered")
        sealed = box.seal(secret, owner=made.secrets_owner)
        await keys.add_secret(tx, made.secrets_owner, sealed.encode())
    return json_response(MadeEndpoint.of(made, signing_secret=secret), HTTPStatus.CREATED)


async def list_endpoints(call: Call) -> Response:
    """Return the caller's addresses, or all of them for an administrator."""
    found = await endpoints.list_all(call.deps.pool, call.own_only)
    return json_response(ShownEndpoints(endpoints=tuple(ShownEndpoint.of(one) for one in found)))


async def remove(call: Call) -> Response:
    """Delete an address and its secret; its pending webhooks are given up."""
    endpoint_id = call.path_id("endpoint_id")
    async with call.deps.pool.transaction() as tx:
        await keys.lock_owner(tx, endpoints.secrets_owner(endpoint_id))
        removed = await endpoints.remove(tx, endpoint_id, owner=call.own_only)
    if removed is None:
        raise Problem("endpoint_not_found", f"no endpoint {endpoint_id}")
    return json_response(RemovedEndpoint.of(removed.endpoint, given_up=removed.given_up))


OPERATIONS = (
    Operation(
        "GET",
        "/endpoints",
        list_endpoints,
        "Registered callback addresses",
        "webhooks",
        (Reply(200, "The oldest first; at most 1,000.", ShownEndpoints),),
        scope=Scope.QUERY,
    ),
    Operation(
        "POST",
        "/endpoints",
        register,
        "Register a callback address with a secret of its own",
        "webhooks",
        (Reply(201, "Registered; the secret is shown once.", MadeEndpoint),),
        scope=Scope.QUERY,
        body=EndpointRequest,
        problems=(
            "malformed_json", "receive_timeout", "body_too_large", "unsupported_media_type",
            "invalid_request", "callback_forbidden", "endpoint_exists",
        ),
    ),
    Operation(
        "DELETE",
        "/endpoints/{endpoint_id}",
        remove,
        "Remove a callback address and its secret",
        "webhooks",
        (Reply(200, "Removed; what waited for it is given up.", RemovedEndpoint),),
        scope=Scope.QUERY,
        problems=("endpoint_not_found",),
    ),
)  # fmt: skip
