"""`status`: how roles and stages are, as `/health` and `/stats/pipeline` say it."""

from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from photo_archive.running import Json, command_group, ending, print_json, run

if TYPE_CHECKING:
    from core.messaging.kafka.cluster import ClusterLook
    from core.storage.standby import StandbyLook
    from ingress.live.watching import PipelineLook
    from ingress.models.page.pipeline import RoleHealth, ShownStage

WELL = ("ok", "idle")
BROKER_TIMEOUT_S = 10.0

app = command_group("How the archive is.")


@app.command(
    epilog=ending(
        "photo-archive status",
        one="a role is behind, halted, silent or does not move; or a server is away",
        zero="every role does its work",
    )
)
def status(as_json: Json = False) -> None:
    """Show what waits in each stage, and what Kafka and the processes say of themselves."""
    run(_status(as_json=as_json))


async def _status(*, as_json: bool) -> int:
    from time import monotonic

    from core.addresses import each_host
    from core.errors import BrokerAway
    from core.messaging.kafka.cluster import look_at
    from core.messaging.kafka.outside import LogBounds
    from core.settings import DatabaseSettings, KafkaSettings, load
    from core.storage import standby
    from core.storage.pool import open_pool
    from ingress.live.watching import PipelineWatch
    from schemas.topics import IMAGES_ARRIVED

    kafka, brokers = load(KafkaSettings), None
    database, follower = load(DatabaseSettings), None
    bounds = LogBounds(kafka, client_id="photo-archive-status")
    with suppress(BrokerAway):
        brokers = await look_at(kafka, IMAGES_ARRIVED.name, timeout_s=BROKER_TIMEOUT_S)
    try:
        async with open_pool(database) as pool:
            look = await PipelineWatch(pool, bounds.of, monotonic).look()
            if len(each_host(database.url.get_secret_value())) > 1:
                follower = await standby.look(pool)
    finally:
        await bounds.close()
    if as_json:
        print_json(_document(look, brokers, follower))
    else:
        _show(look, brokers, follower)
    is_well = brokers is not None and not brokers.missing
    is_whole = is_well and (follower is None or follower.is_there)
    return 0 if is_whole and all(role.status in WELL for role in look.roles.values()) else 1


def _show(
    look: "PipelineLook", brokers: "ClusterLook | None", follower: "StandbyLook | None"
) -> None:
    typer.echo(_of_kafka(brokers))
    if follower is not None:
        typer.echo(f"{'standby':14}  {'ok' if follower.is_there else 'away'}  {follower.told}")
    for name, role in look.roles.items():
        typer.echo(_of_role(name, role))
    for stage in look.stages:
        typer.echo(_of_stage(stage))


def _document(
    look: "PipelineLook", brokers: "ClusterLook | None", follower: "StandbyLook | None"
) -> dict[str, object]:
    of_standby = {"standby": {**asdict(follower), "told": follower.told}} if follower else {}
    return {
        **of_standby,
        "brokers": {
            "there": [] if brokers is None else brokers.brokers,
            "missing": [] if brokers is None else brokers.missing,
        },
        "roles": {name: role.model_dump(mode="json") for name, role in look.roles.items()},
        "stages": [stage.model_dump(mode="json") for stage in look.stages],
    }


def _of_kafka(brokers: "ClusterLook | None") -> str:
    if brokers is None:
        return f"{'kafka':14}  away"
    return f"{'kafka':14}  {'reduced' if brokers.missing else 'ok'}  {brokers.describe()}"


def _of_role(name: str, role: "RoleHealth") -> str:
    since = f" since {role.since.isoformat(timespec='seconds')}" if role.since else ""
    detail = f"  {role.detail}" if role.detail else ""
    return f"{name:14}  {role.status}{since}  processes: {role.instances}{detail}"


def _of_stage(stage: "ShownStage") -> str:
    waiting = "?" if stage.waiting is None else str(stage.waiting)
    oldest = "" if stage.oldest_waiting_s is None else f", oldest {stage.oldest_waiting_s:g} s"
    detail = f"  {stage.detail}" if stage.detail else ""
    return f"{stage.name:14}  {stage.state}  waiting: {waiting}{oldest}{detail}"
