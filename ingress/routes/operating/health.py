"""`/health`, `/livez`, `/readyz`, `/metrics`: for people, orchestrators and Prometheus."""

import asyncio
from datetime import timedelta
from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import PlainTextResponse, Response

from core.errors import PhotoTaggerError
from core.storage.scoring import loaded_models
from ingress.dependencies import Health
from ingress.models.health import Check, HealthReport, RunningModel
from ingress.operations import Call, Operation, Reply, json_response

CHECK_TIMEOUT_S = 2.0
#: A tagging process reports its model every 30 s; one that was silent for so long is not shown.
MODEL_SILENCE = timedelta(seconds=90)


async def health(call: Call) -> Response:
    """Return the state of every dependency; 503 where no request can be accepted."""
    database, broker, models = await call.deps.health_looks.of(lambda: _look(call))
    checks = {"database": database, "broker": broker, "process": _process(call)}
    can_accept = checks["database"].status == checks["process"].status == "ok"
    is_whole = all(check.status == "ok" for check in checks.values())
    document = HealthReport(
        status="ok" if is_whole else "degraded" if can_accept else "unavailable",
        version=call.deps.version,
        model=call.deps.model,
        loaded_models=models,
        checks=checks,
    )
    return json_response(document, HTTPStatus.OK if can_accept else HTTPStatus.SERVICE_UNAVAILABLE)


async def live(call: Call) -> Response:
    """Answer: the process is alive. No dependency is checked, so that no outage restarts it."""
    del call
    return PlainTextResponse("ok\n")


async def ready(call: Call) -> Response:
    """Tell whether requests are accepted: not while stopping, not while the database is away."""
    if _process(call).status != "ok":
        return PlainTextResponse("stopping\n", HTTPStatus.SERVICE_UNAVAILABLE)
    if (await call.deps.database_looks.of(lambda: _database(call))).status != "ok":
        return PlainTextResponse("database away\n", HTTPStatus.SERVICE_UNAVAILABLE)
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
    return await asyncio.gather(_database(call), _broker(call), _models(call))


async def _database(call: Call) -> Check:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await call.deps.pool.fetchval("SELECT 1")
    except (PhotoTaggerError, TimeoutError) as error:
        return Check(status="away", detail=type(error).__name__)
    return Check(status="ok")


async def _models(call: Call) -> tuple[RunningModel, ...]:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            found = await loaded_models.running(call.deps.pool, MODEL_SILENCE)
    except (PhotoTaggerError, TimeoutError):
        return ()  # the check `database` reports this outage
    return tuple(RunningModel.of(one) for one in found)


async def _broker(call: Call) -> Check:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            if await call.deps.is_broker_there():
                return Check(status="ok")
    except TimeoutError:
        pass
    return Check(status="away", detail="accepted events wait in the outbox")


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
    ),
    Operation(
        "GET",
        "/livez",
        live,
        "The process is alive",
        "health",
        (Reply(200, "It is.", media_type=_TEXT),),
        is_probe=True,
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
    ),
    Operation(
        "GET",
        "/metrics",
        metrics,
        "Metrics for Prometheus",
        "health",
        (Reply(200, "Text format.", media_type=_TEXT),),
    ),
)
