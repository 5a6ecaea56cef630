"""The receiver in the box as developers see it."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from core.storage.delivery.inboxes import MAX_PER_OWNER
from ingress.models.roots import Input, Output, examples

MAX_DELAY_S = 120.0  # longer than any receiver is waited for

AnswerKind = Literal["ok", "500", "410", "slow", "never", "redirect"]


class InboxAnswer(Input):
    """What an inbox answers to webhooks."""

    kind: AnswerKind = Field(
        "ok",
        description="`slow` answers 200 after `delay_s`; `never` lets the sender wait until it"
        " gives up; `redirect` points to the inbox itself, which a sender must not follow.",
    )
    delay_s: Annotated[float, Field(ge=0, le=MAX_DELAY_S, allow_inf_nan=False)] = 10.0


class InboxRequest(Input):
    """`POST /inbox`: an address for webhooks; without `another` the one that is there already."""

    model_config = examples({}, {"another": True})

    another: bool = Field(False, description=f"Make one more, {MAX_PER_OWNER} at most.")


class InboxChange(Input):
    """`PUT /inbox/{token}`: what it answers from now on."""

    model_config = examples(
        {"answer": {"kind": "500"}}, {"answer": {"kind": "slow", "delay_s": 20}}
    )

    answer: InboxAnswer


class ShownAnswer(Output):
    """What an inbox answers."""

    kind: AnswerKind
    delay_s: float


class ShownInbox(Output):
    """An inbox: whoever knows its token may post to it."""

    token: str
    url: str = Field(description="For `callback_url`; every other spelling of it is refused.")
    answer: ShownAnswer
    received: int = Field(description="Posts since it was made.")


class ShownPost(Output):
    """A webhook as it came."""

    at: datetime
    webhook_id: str | None
    attempt_seen: int = Field(
        description="How often this id had come, this time included, of those that are kept."
    )
    headers: tuple[tuple[str, str], ...] = Field(
        description="Values of cookies and keys are not kept."
    )
    body: str = Field(description="Its first 64 KiB.")
    body_bytes: int
    signature_ok: bool | None = Field(
        description="By the Standard Webhooks rules, with the secret that signs for this address;"
        " null: there is no `SECRETS_KEY` to open it with."
    )
    type: str | None
    query_id: UUID | None
    image_id: UUID | None = Field(description="The photo in it.")
    answered: int | None = Field(description="HTTP status; null: not yet, or never.")


class FilledInbox(ShownInbox):
    """An inbox with what came there."""

    posts: tuple[ShownPost, ...] = Field(description="The newest 100, the newest first.")
