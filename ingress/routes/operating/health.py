"""`/health`, `/livez`, `/readyz`, `/metrics`: for people, orchestrators and Prometheus."""

import asyncio
from datetime import timedelta
from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import PlainTextResponse, Response

from core.errors import DatabaseReadOnly, PhotoTaggerError
from core.storage import standby
from core.storage.stream import heartbeats
from core.vision.demo_card import is_demo
from ingress.dependencies import Health
from ingress.models.health import Check, HealthReport, RunningModel
from ingress.models.page.pipeline import RoleHealth
from ingress.operations import Call, Operation, Reply, json_response

CHECK_TIMEOUT_S = 2.0
#: A standby that was not promoted, or a primary that an operator or a full disk has closed.
IS_READ_ONLY = "SELECT current_setting('transaction_read_only') = 'on'"
#: A process says every 5 s that it runs. A model is shown a while longer: it may be a restart.
MODEL_SILENCE = timedelta(seconds=90)
#: Roles that are so do their work. What is `behind` does it too, but not fast enough.
WELL = frozenset({"ok", "idle"})


async def health(call: Call) -> Response:
    """Return the state of every dependency and role; 503 where no request can be accepted."""
    database, follower, broker, models, roles = await call.deps.health_looks.of(lambda: _look(call))
    checks = {"database": database, "broker": broker, "process": _process(call)}
    if follower is not None:
        checks["standby"] = follower
    can_accept = checks["database"].status == checks["process"].status == "ok"
    is_whole = all(check.status == "ok" for check in checks.values()) and all(
        role.status in WELL for role in roles.values()
    )
    document = HealthReport(
        status="ok" if is_whole else "degraded" if can_accept else "unavailable",
        version=call.deps.version,
        model=call.deps.model,
        loaded_models=models,
        unknown_labels=_unknown(call, models),
        checks=checks,
        roles=roles,
    )
    return json_response(document, HTTPStatus.OK if can_accept else HTTPStatus.SERVICE_UNAVAILABLE)


def _unknown(call: Call, models: tuple[RunningModel, ...]) -> tuple[str, ...]:
    names = [one.model for one in models] or [call.deps.model]
    return tuple(sorted(call.deps.facts.unseen)) if any(map(is_demo, names)) else ()


async def live(call: Call) -> Response:
    """Answer: the process is alive. No dependency is checked, so that no outage restarts it."""
    del call
    return PlainTextResponse("ok\n")


async def ready(call: Call) -> Response:
    """Tell whether requests are accepted: not while stopping, nor while nothing can be kept."""
    if _process(call).status != "ok":
        return PlainTextResponse("stopping\n", HTTPStatus.SERVICE_UNAVAILABLE)
    database = await call.deps.database_looks.of(lambda: _database(call))
    if database.status != "ok":
        text = f"database {database.status.replace('_', '-')}\n"
        return PlainTextResponse(text, HTTPStatus.SERVICE_UNAVAILABLE)
    return PlainTextResponse("ok\n")


async def metrics(call: Call) -> Response:
    """Return the metrics of this process in Prometheus' text format."""
    deps = call.deps
    deps.metrics.http_bytes_in_flight.set(deps.guards.bodies.used)
    return Response(
        generate_latest(deps.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
    )


def _process(call: Call) -> Check:
    return Check(status="ok" if call.deps.readiness.is_ready else "stopping")


async def _look(call: Call) -> Health:
    return await asyncio.gather(
        _database(call), _standby(call), _broker(call), _models(call), _roles(call)
    )


async def _database(call: Call) -> Check:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            is_read_only = await call.deps.pool.fetchval(IS_READ_ONLY)
    except DatabaseReadOnly:
        is_read_only = True
    except (PhotoTaggerError, TimeoutError) as error:
        return Check(status="away", detail=type(error).__name__)
    if is_read_only:
        return Check(status="read_only", detail="it takes no writes: nothing can be accepted")
    return Check(status="ok")


async def _standby(call: Call) -> Check | None:
    """Return how the standby is; None where there should be none, or the database is away."""
    if not call.deps.expects_standby:
        return None
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            found = await standby.look(call.deps.pool)
    except (PhotoTaggerError, TimeoutError):
        return None  # the check `database` reports this outage
    return Check(status="ok" if found.is_there else "away", detail=found.told)


async def _roles(call: Call) -> dict[str, RoleHealth]:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return (await call.deps.pipeline.look()).roles
    except (PhotoTaggerError, TimeoutError):
        return {}  # the check `database` reports this outage


async def _models(call: Call) -> tuple[RunningModel, ...]:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            found = await heartbeats.models(call.deps.pool, MODEL_SILENCE)
    except (PhotoTaggerError, TimeoutError):
        return ()  # the check `database` reports this outage
    return tuple(RunningModel.of(one) for one in found)


async def _broker(call: Call) -> Check:
    brokers = await call.deps.brokers()  # limits itself; slow is not away
    if brokers is None:
        return Check(status="away", detail="accepted events wait in the outbox")
    if brokers.missing:
        return Check(status="reduced", detail=brokers.describe())
    return Check(status="ok")


_TEXT = "text/plain"
OPERATIONS = (
    Operation(
        "GET",
        "/health",
        health,
        "State of every part",
        "health",
        (
            Reply(200, "Requests are accepted.", HealthReport),
            Reply(503, "Nothing can be accepted now.", HealthReport),
        ),
        is_probe=True,
        ignores_query=True,
    ),
    Operation(
        "GET",
        "/livez",
        live,
        "The process is alive",
        "health",
        (Reply(200, "It is.", media_type=_TEXT),),
        is_probe=True,
        ignores_query=True,
    ),
    Operation(
        "GET",
        "/readyz",
        ready,
        "Requests are welcome",
        "health",
        (
            Reply(200, "They are.", media_type=_TEXT),
            Reply(503, "Not now: stopping, or the database is away.", media_type=_TEXT),
        ),
        is_probe=True,
        ignores_query=True,
    ),
    Operation(
        "GET",
        "/metrics",
        metrics,
        "Metrics for Prometheus",
        "health",
        (Reply(200, "Text format.", media_type=_TEXT),),
        ignores_query=True,
    ),
)
