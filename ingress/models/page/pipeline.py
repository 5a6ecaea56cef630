"""The pipeline as operators see it: `GET /stats/pipeline`, and the roles in `/health`."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from ingress.models.jobs import ShownJob
from ingress.models.roots import Output

StageName = Literal[
    "tagging",
    "tagging_bulk",
    "queries",
    "deliveries",
    "outbox",
    "parked_images",
    "label_work",
]
StageState = Literal["keeps_up", "grows", "stopped", "silent", "idle", "halted"]
ProcessState = Literal["moving", "idle", "alive_not_moving", "silent"]
RoleStatus = Literal["ok", "idle", "behind", "not_moving", "silent", "halted"]


class ShownStage(Output):
    """One stage of the pipeline."""

    name: StageName
    in_per_s: float | None = Field(description="Over the last seconds; null: not known yet.")
    out_per_s: float | None = Field(description="As `in_per_s`.")
    waiting: int | None = Field(
        description="Pieces of work; of very many only some thousands are counted."
    )
    unread: int | None = Field(
        description="Of `waiting`, what lies in the topic and no process has taken over: webhooks"
        " among it have no target yet. Null: unknown, or the stage has no topic."
    )
    oldest_waiting_s: float | None = Field(description="Null where nothing waits, or unknown.")
    trend: tuple[float | None, ...] = Field(
        description="The longest wait in each 15 s of the last 15 min, the present ones last;"
        " null: it was not measured."
    )
    is_growing: bool = Field(
        description="The oldest waits longer than some seconds ago, and no less work waits;"
        " whatever `state` says."
    )
    state: StageState = Field(
        description="The worst that is so. `stopped`: no process works on it, as asked;"
        " `silent`: those that did are not heard of."
    )
    since: datetime | None = Field(description="Since when it is in this state, if known.")
    detail: str | None


class ShownProcess(Output):
    """A part of a process, as it said itself."""

    role: str
    instance: str
    started_at: datetime
    seen_at: datetime
    progressed_at: datetime | None
    state: ProcessState
    detail: str | None


class WaitingTarget(Output):
    """A target at which webhooks are due."""

    target: str
    waiting: int
    oldest_waiting_s: float
    state: Literal["open", "broken", "half_open", "disabled"]
    waits_for: str | None


class HaltedPartition(Output):
    """A partition that stands still until somebody acts."""

    group: str
    topic: str
    partition: int
    reason: str
    since: datetime | None


class ShownLettersOfReason(Output):
    """Records that were set aside for one reason, and not sent back."""

    reason: str
    letters: int
    newest_at: datetime


class PipelineReport(Output):
    """`GET /stats/pipeline`."""

    at: datetime
    stages: tuple[ShownStage, ...]
    processes: tuple[ShownProcess, ...]
    targets: tuple[WaitingTarget, ...] = Field(
        description="The ten at which a webhook waits longest; only of the caller's own webhooks."
    )
    halted: tuple[HaltedPartition, ...]
    dead_letters: tuple[ShownLettersOfReason, ...]
    jobs: tuple[ShownJob, ...] = Field(description="The caller's open jobs.")


class RoleHealth(Output):
    """How the processes of one role are, as they said themselves."""

    status: RoleStatus
    since: datetime | None
    oldest_waiting_s: float | None
    instances: int = Field(description="Processes that were heard of within 16 seconds.")
    detail: str | None
