"""What clients send and get about webhooks that are sent again."""

from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from core.storage.delivery.redelivery import MAX_LIMIT, STATES, State
from ingress.models.roots import Input, Output, Words, examples
from schemas.strict import Moment, read_whole


class RedeliveryFilter(Input):
    """A selection of webhooks by one condition at least; all conditions must hold."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    host: Annotated[Words, Field(min_length=1, max_length=253)] | SkipJsonSchema[None] = Field(
        None, description="Of any scheme and port."
    )
    states: tuple[State, ...] = Field(
        ("given_up",),
        min_length=1,
        max_length=len(STATES),
        description="As the `state` of queries. `delivered` ones go out as new webhooks.",
    )
    since: Moment | SkipJsonSchema[None] = Field(
        None, description="Ended (or made) at or after this time."
    )
    until: Moment | SkipJsonSchema[None] = Field(
        None, description="Ended (or made) before this time."
    )

    @model_validator(mode="after")
    def _says_which(self) -> "RedeliveryFilter":
        chosen = {"host": self.host, "since": self.since, "until": self.until}
        if "states" not in self.model_fields_set and all(one is None for one in chosen.values()):
            raise ValueError(f"say which webhooks: give one at least of {', '.join(_CONDITIONS)}")
        for name, value in chosen.items():
            if value is None and name in self.model_fields_set:
                raise ValueError(f"{name}: null is no condition, leave it out")
        return self


_CONDITIONS = tuple(RedeliveryFilter.model_fields)


class RedeliveryRequest(Input):
    """`POST /queries/redeliver`: webhooks to send again."""

    model_config = examples(
        {"filter": {"host": "hooks.example.org"}, "dry_run": True},
        {"filter": {"since": "2026-05-01T00:00:00Z"}, "limit": 500},
        {"filter": {"states": ["given_up", "stopped"]}, "dry_run": True},
    )

    filter: RedeliveryFilter
    dry_run: bool = Field(False, description="Only count.")
    limit: int = Field(1000, ge=1, le=MAX_LIMIT)

    _read_limit = field_validator("limit", mode="before")(read_whole)


class Redelivery(Output):
    """The outcome of a redelivery."""

    matched: dict[str, int] = Field(description="Webhooks that match, by `state`.")
    redelivered: int = Field(description="Of these, so many are due now; 0 where only counted.")
    attempt: int | None = Field(
        None, description="Of a single query: the number of the attempt that is due now."
    )
    webhook_ids: tuple[UUID, ...] = Field(description="Of those that are due now, the first 100.")
