"""The token that an upload returns and a query may carry as `after`: read your own writes."""

import base64
import binascii
import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Token:
    """The position of an upload's event: in the log, or in the outbox while it is unpublished.

    Attributes:
        cluster: id of the Kafka cluster, so that a token of another installation is refused.
    """

    cluster: str
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    outbox_id: int | None = None

    def encode(self) -> str:
        """Return the token as URL-safe text."""
        if self.outbox_id is not None:
            fields: list[object] = [self.cluster, self.outbox_id]
        else:
            fields = [self.cluster, self.topic, self.partition, self.offset]
        text = json.dumps(fields, separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_token(text: str) -> Token:
    """Return the token that the text encodes.

    Raises:
        ValueError: the text is no token.
    """
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        fields = json.loads(raw)
    except (binascii.Error, ValueError) as error:
        raise ValueError("not a token of an upload") from error
    match fields:
        case [str(cluster), int(outbox_id)] if 0 <= outbox_id < 2**63:
            return Token(cluster, outbox_id=outbox_id)
        case [str(cluster), str(topic), int(partition), int(offset)] if (
            0 <= partition < 2**31 and 0 <= offset < 2**63
        ):
            return Token(cluster, topic, partition, offset)
        case _:
            raise ValueError("not a token of an upload")
