"""One attempt at one webhook: compose the body, sign it, post it, decide what follows.

The body says the same in all attempts: it is made anew each time from the same answer and the same
picture. It turns into `query.failed` where the picture is gone or has changed meanwhile, and in the
last attempt where the picture could not be read.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from math import ceil
from random import Random
from typing import Annotated, Protocol
from uuid import UUID

from pydantic import Field, TypeAdapter

from consumers.delivery.attempts import (
    DETAIL_CHARS,
    INTERNAL_ERROR,
    OWN_FAULT,
    Seen,
    Tried,
    WebhookAnswer,
    detail_of,
    settled_by,
    tried_of,
)
from consumers.delivery.budget import Budget, Reserve
from core.errors import (
    ImageMissing,
    PermanentError,
    TargetForbidden,
    TargetUnreachable,
    TransientError,
)
from core.failpoints import reach
from core.storage.delivery.deliveries import Attempt, Leased
from core.telemetry import tracing
from core.webhooks.body import build_body, build_operator_body
from core.webhooks.schedule import (
    OWN_FAULT_DELAY_S,
    Attempts,
    RetrySchedule,
)
from core.webhooks.sender import BODY_S, Message, WebhookSender
from schemas.callback import AnswerType, CallbackRequested, host_of
from schemas.image import Failure
from schemas.operator_event import OperatorNotice
from schemas.webhook import OperatorBody, WebhookBody, WebhookData, WebhookImage, WebhookOther

# Bytes in memory per byte of a picture, at most: the copy without metadata 1, its base64 in pieces
# 4/3 and joined 4/3, in all 11/3. A copy that is encoded anew may be larger than its original; that
# is counted once the body is there.
PER_BYTE = 1 + 4 / 3 + 4 / 3
#: Reasons for which a picture that was tagged once cannot be read at this moment.
PASSING = frozenset(
    {
        "image_unreachable",
        "image_changing",
        "image_unknown",
        "read_failed",
        "decoder_timeout",
        "decoder_crashed",
    }
)


class LeaseTooShort(TransientError):
    """An exchange that begins now could last longer than the lease."""


class PictureNotNow(TransientError):
    """A picture cannot be read now, for a `reason` that passes."""

    def __init__(self, error: PermanentError) -> None:
        super().__init__(str(error))
        self.reason = error.reason


@dataclass(frozen=True, slots=True)
class OutgoingPicture:
    """An image ready to be sent: its bytes in base64, or None for a link."""

    path: str
    media_type: str
    base64: bytes | None


class Pictures(Protocol):
    """Makes the copies of images that are sent."""

    async def outgoing(
        self, image_id: UUID, *, inline: bool, reserve: Reserve
    ) -> OutgoingPicture | PermanentError:
        """Return the image, or the error why it no longer exists.

        Args:
            reserve: is waited for with the image's size before its bytes are brought into memory.

        Raises:
            TransientError: the database or the store of the bytes is away.
        """
        ...


Outgoing = CallbackRequested | OperatorNotice
#: Answers first, of which there are most. Each needs a field that the other has not.
_OUTGOING: TypeAdapter[Outgoing] = TypeAdapter(
    Annotated[Outgoing, Field(union_mode="left_to_right")]
)
#: Returns what signs for an owner's address, the newest first: `adapters.StoredSecrets.of`.
Secrets = Callable[[str | None, str], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class WebhookCourier:
    """Delivers answers as Standard Webhooks.

    Attributes:
        link: returns a signed address of an image, which expires.
        chance: jitter of the schedule.
    """

    pictures: Pictures
    secrets: Secrets
    sender: WebhookSender[WebhookAnswer]
    schedule: RetrySchedule
    link: Callable[[UUID], str]
    budget: Budget
    chance: Random

    async def deliver(self, lease: Leased) -> Tried:
        """Make one attempt.

        Raises:
            TransientError: a fault of our own, before anything was sent: see `failed`.
        """
        event = outgoing_of(lease.event)
        with tracing.doing(
            "deliver webhook",
            None if isinstance(event, OperatorNotice) else event.traceparent,
            since_ns=_due_ns(lease),
            attributes={
                "query_id": str(lease.query_id),
                "webhook_id": str(lease.delivery_id),
                "attempt": lease.attempt,
            },
        ) as trace:
            return await self._deliver(lease, event, trace)

    async def _deliver(self, lease: Leased, event: Outgoing, trace: str | None) -> Tried:
        secrets = await self.secrets(event.owner, event.url)
        async with self.budget.hold() as held:
            body = await self._compose(lease, event, held.reserve)
            if held.taken:
                await held.settle(len(body))
            reach("attempt.composed")
            where = {"http.request.method": "POST", "server.address": host_of(event.url)}
            with tracing.asking("POST", trace, where) as carried:
                message = Message(lease.delivery_id, event.url, body, secrets, carried)
                tried = await self._attempt(lease, message)
                tracing.note(_seen(tried))
                return tried

    def failed(self, lease: Leased, error: Exception) -> Tried:
        """Return what an attempt came to that ended in an error of our own.

        A picture that cannot be read now waits by the schedule, since asking a slow source or a
        decoder every few seconds is expensive. An unexpected error may have come after the POST
        too, so it is charged, and a bug that one webhook meets ends with its schedule.
        """
        now, detail = datetime.now(UTC), detail_of(error)
        follow = self.schedule.failed
        if isinstance(error, PictureNotNow):
            name = error.reason
        elif isinstance(error, TransientError):
            name, follow = OWN_FAULT, partial(self.schedule.postponed, delay_s=OWN_FAULT_DELAY_S)
        else:
            name, detail = INTERNAL_ERROR, type(error).__name__  # the message is only for the log
        verdict = follow(name, attempts=_attempts(lease), now=now, rng=self.chance)
        return Tried(
            Attempt(now, 0, error=name, detail=detail), settled_by(verdict), own_fault=True
        )

    async def _attempt(self, lease: Leased, message: Message) -> Tried:
        left_s = lease.deadline - time.monotonic()
        if left_s < self.sender.timeout_s:
            # Preparing took too long. Once the lease ends, another worker could send this and
            # record a 2xx while our POST begins or is in flight.
            raise LeaseTooShort(
                f"{left_s:.1f} s are left, {self.sender.timeout_s:g} s may be needed"
            )
        started_at, clock = datetime.now(UTC), time.monotonic()
        outcome: Seen
        try:
            # Reading the answer's body must not outlast the lease either.
            body_s = min(BODY_S, left_s - self.sender.timeout_s)
            outcome = await self.sender.send(message, now=started_at, body_s=body_s)
        except (TargetForbidden, TargetUnreachable) as error:
            outcome = error
        reach("attempt.answered")
        took_ms = round((time.monotonic() - clock) * 1000)
        verdict = self.schedule.verdict(
            outcome,
            attempts=_attempts(lease),
            now=datetime.now(UTC),
            rng=self.chance,
        )
        return tried_of(outcome, verdict, started_at, took_ms)

    async def _compose(self, lease: Leased, event: Outgoing, reserve: Reserve) -> bytes:
        if isinstance(event, OperatorNotice):
            return build_operator_body(
                OperatorBody(type=event.type, timestamp=event.happened_at, data=event.data)
            )
        if event.image_id is None:
            return build_body(_body(event, others=self._others(event)))
        picture = await self.pictures.outgoing(
            event.image_id,
            inline=event.payload == "inline",
            reserve=lambda size: reserve(ceil(size * PER_BYTE)),
        )
        if isinstance(picture, PermanentError):
            if picture.reason in PASSING and not self.schedule.is_last(_attempts(lease)):
                raise PictureNotNow(picture)
            return build_body(_withdrawn(event, picture))
        image = WebhookImage(
            id=event.image_id,
            path=picture.path,
            media_type=picture.media_type,
            url=self.link(event.image_id) if picture.base64 is None else None,
        )
        return build_body(_body(event, image, self._others(event)), picture.base64)

    def _others(self, event: CallbackRequested) -> tuple[WebhookOther, ...]:
        return tuple(
            WebhookOther(id=other.image_id, score=other.score, url=self.link(other.image_id))
            for other in event.others
        )


def outgoing_of(event: str) -> Outgoing:
    """Return what a row of the schedule is about: an answer, or an operator event."""
    return _OUTGOING.validate_json(event)


def image_gone(image_id: UUID) -> ImageMissing:
    """Return why an answer has no picture any more: it was deleted, or its file is not there."""
    return ImageMissing(f"image {image_id} is gone since it was chosen", reason="image_gone")


def image_unknown(image_id: UUID) -> ImageMissing:
    """Return why an answer has no picture yet: the image was never here, not even a deleted one.

    In an archive that was restored from a backup the answer may be older than what is known again
    of its image, which is then still to be read from Kafka's log.
    """
    return ImageMissing(f"image {image_id} is not known (yet)", reason="image_unknown")


def image_changed(image_id: UUID) -> ImageMissing:
    """Return why an answer has no picture any more: its bytes are not those that were tagged."""
    return ImageMissing(f"image {image_id} changed since it was tagged", reason="image_changed")


def _body(
    event: CallbackRequested,
    image: WebhookImage | None = None,
    others: tuple[WebhookOther, ...] = (),
) -> WebhookBody:
    return WebhookBody(
        type=event.type,
        timestamp=event.answered_at,
        data=WebhookData(
            query_id=event.query_id,
            text=event.text,
            lemmas=event.lemmas,
            matched=event.matched,
            score=event.score,
            image=image,
            others=others,
            error=event.error,
        ),
    )


def _withdrawn(event: CallbackRequested, error: PermanentError) -> WebhookBody:
    failure = Failure(reason=error.reason, detail=str(error)[:DETAIL_CHARS])
    return _body(
        event.model_copy(
            update={"type": AnswerType.FAILED, "error": failure, "matched": (), "score": 0.0}
        )
    )


def _due_ns(lease: Leased) -> int | None:
    """Return when a webhook was put on the schedule; None for a retry, which waited on purpose."""
    return None if lease.made > 1 else round(lease.created_at.timestamp() * 1e9)


def _seen(tried: Tried) -> dict[str, str | int]:
    attempt = tried.attempt
    if attempt.status is not None:
        return {"http.response.status_code": attempt.status}
    return {"error.type": attempt.error or ""}


def _attempts(lease: Leased) -> Attempts:
    return Attempts(lease.made, lease.created_at)
