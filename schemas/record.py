"""A record as it is on a topic: bytes that are not decoded yet."""

from typing import NamedTuple

from schemas.quick import quick_value


class Partition(NamedTuple):
    """A partition of a topic, by the topic's logical name."""

    topic: str
    number: int


@quick_value
class Record:
    """Key, headers and value of one record, received or to be published.

    Attributes:
        topic: logical topic name (`schemas.topics`); a broker-wide prefix is added at the border.
        key: UTF-8 text by contract, bytes on the wire; None where a foreign producer set none.
        headers: in their order; a name may occur several times.
    """

    topic: str
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    value: bytes

    def header(self, name: str) -> str | None:
        """Return the last header of this name as text, compared without case; None if absent."""
        for key, value in reversed(self.headers):
            if key.lower() == name:
                return value.decode("utf-8", "replace")
        return None
