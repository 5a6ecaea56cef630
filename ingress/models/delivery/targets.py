"""What clients send and get about callback targets."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from ingress.models.roots import Input, Output, Words, examples


class TargetChange(Input):
    """`POST /targets/{scheme}/{host}/{port}/disable, resume`: the reason."""

    model_config = examples({"reason": "its operators asked for a pause"})

    reason: Words = Field("", max_length=500)


class ShownTarget(Output):
    """A callback target, and how it is."""

    target: str = Field(description="`https://hooks.example.org:443`: the port is always written.")
    state: Literal["open", "half_open", "broken", "disabled"] = Field(
        description="`broken`: it is not tried since it failed; `half_open`: one attempt at a time"
        " tells whether it is back."
    )
    is_disabled: bool
    disabled_at: datetime | None
    actor: str | None = Field(
        description="Who did the last change, null: nobody; `breaker`: it was automatic."
    )
    reason: str
    changed_at: datetime | None
    waiting: int = Field(description="Webhooks on the schedule, counted to 1,000.")
    oldest_waiting_s: float | None = Field(description="Since when the oldest is due.")
    in_flight: int
    cap: int | None = Field(description="Attempts in flight at most; null: not tried lately.")
    last_ok_at: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    p99_ms: int | None = Field(description="Of the last attempts.")


class ShownTargets(Output):
    """Targets by name; a page may hold fewer than asked for, even none, before the last one."""

    targets: tuple[ShownTarget, ...]
    next: str | None = Field(
        None, description="Cursor of the page that follows; null on the last one."
    )
