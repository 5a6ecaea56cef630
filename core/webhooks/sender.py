"""One attempt: sign and post."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from core.webhooks.schedule import WebhookResponse
from core.webhooks.signature import (
    ID_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    parse_secret,
    sign,
)

# How long the body of an answer is read, for people to see: the status has decided by then.
BODY_S = 2.0
# SHA-256 takes about 1 ms per MiB and releases the interpreter's lock meanwhile.
OFF_LOOP_BYTES = 256 * 1024

ResponseT = TypeVar("ResponseT", bound=WebhookResponse)
ResponseT_co = TypeVar("ResponseT_co", bound=WebhookResponse, covariant=True)


class Poster(Protocol[ResponseT_co]):
    """Posts once to an address that it has checked; `core.egress.GuardedClient` is one."""

    async def post(
        self,
        url: str,
        *,
        content: bytes,
        headers: Mapping[str, str],
        timeout_s: float,
        body_s: float,
    ) -> ResponseT_co:
        """Return the answer, whatever its status.

        Raises:
            TargetForbidden: the address is refused.
            TargetUnreachable: there was no answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Message:
    """The message of one attempt.

    Attributes:
        id: `webhook-id`, the same over all attempts of one answer.
        url: the callback.
        body: from `build_body`.
        secrets: `whsec_…`, one or more while a secret is being changed.
        traceparent: the trace of the query, for the receiver to go on with.
    """

    id: UUID
    url: str
    body: bytes
    secrets: Sequence[str]
    traceparent: str | None = None


class WebhookSender(Generic[ResponseT]):
    """Sends messages by Standard Webhooks 1.0.

    Attributes:
        timeout_s: from the start of a POST to the end of the answer's status line and headers.
    """

    def __init__(
        self, poster: Poster[ResponseT], *, timeout_s: float, user_agent: str = "photo-archive"
    ) -> None:
        self._poster = poster
        self.timeout_s = timeout_s
        self._user_agent = user_agent

    async def send(self, message: Message, *, now: datetime, body_s: float = BODY_S) -> ResponseT:
        """Sign for this moment and post.

        Args:
            message: what to send.
            now: when.
            body_s: how long the answer's body is read, once its status is there.

        Raises:
            TargetForbidden: the address is refused.
            TargetUnreachable: there was no answer.
            ValueError: a secret is malformed.
        """
        timestamp = int(now.timestamp())
        keys = [parse_secret(secret) for secret in message.secrets]
        if len(message.body) <= OFF_LOOP_BYTES:
            signature = sign(str(message.id), timestamp, message.body, keys)
        else:
            signature = await asyncio.to_thread(
                sign, str(message.id), timestamp, message.body, keys
            )
        headers = {
            ID_HEADER: str(message.id),
            TIMESTAMP_HEADER: str(timestamp),
            SIGNATURE_HEADER: signature,
            "content-type": "application/json",
            "user-agent": self._user_agent,
        }
        if message.traceparent is not None:
            headers["traceparent"] = message.traceparent
        return await self._poster.post(
            message.url,
            content=message.body,
            headers=headers,
            timeout_s=self.timeout_s,
            body_s=body_s,
        )
