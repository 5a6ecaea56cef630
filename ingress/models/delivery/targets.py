"""What clients send and get about callback targets."""

from datetime import datetime

from pydantic import Field

from ingress.models.roots import Input, Output, Words, examples


class TargetChange(Input):
    """`POST /targets/{scheme}/{host}/{port}/disable, resume`: the reason."""

    model_config = examples({"reason": "its operators asked for a pause"})

    reason: Words = Field("", max_length=500)


class ShownTarget(Output):
    """A callback target that is or was disabled."""

    target: str = Field(description="`https://hooks.example.org:443`: the port is always written.")
    is_disabled: bool
    disabled_at: datetime | None
    actor: str = Field(description="Who did the last change; `breaker`: it was automatic.")
    reason: str
    changed_at: datetime
    waiting: int = Field(description="Webhooks on the schedule, counted to 1,000.")


class ShownTargets(Output):
    """Targets that were disabled once, the newest change first."""

    targets: tuple[ShownTarget, ...]
