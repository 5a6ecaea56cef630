"""The answer of `/health`."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from ingress.models.page.pipeline import RoleHealth
from ingress.models.roots import Output


class Check(Output):
    """The state of one dependency, or of the process itself."""

    status: Literal["ok", "reduced", "away", "read_only", "stopping"] = Field(
        description="`reduced`: some of its servers are away, the others do their work."
    )
    detail: str | None = None


class RunningModel(Output):
    """A model that a tagging process has loaded."""

    model: str = Field(description="Its name and weights, as beside the tags that it made.")
    loaded_at: datetime
    seen_at: datetime = Field(description="When a process last reported it.")
    lanes: tuple[str, ...] = Field(
        description="Of arrivals that are tagged with it; one that no model has stands still."
    )


class HealthReport(Output):
    """Whether this process can do its work."""

    status: Literal["ok", "degraded", "unavailable"]
    version: str
    model: str = Field(
        description="What the instance is set to tag with; `demo` is the bundled model."
    )
    loaded_models: tuple[RunningModel, ...] = Field(
        description="What tagging processes run with at present; empty where none has reported."
    )
    unknown_labels: tuple[str, ...] = Field(
        description="Of the default labels, those that the bundled model cannot know. Empty with"
        " any other model."
    )
    checks: dict[str, Check]
    roles: dict[str, RoleHealth] = Field(
        description="How the processes of each role are, as they said themselves. The archive is"
        " `degraded` while one is behind, not moving, silent or halted."
    )
