"""A poster that records its calls and answers as scripted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PlainAnswer:
    """A status and some headers, and what is shown of an answer."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    all_headers: Sequence[tuple[str, str]] = ()
    times_ms: Mapping[str, int] = field(default_factory=dict)
    body_excerpt: bytes = b""
    body_complete: bool = True


@dataclass(frozen=True, slots=True)
class Posted:
    """One recorded call."""

    url: str
    content: bytes
    headers: Mapping[str, str]
    timeout_s: float
    body_s: float


class RecordingPoster:
    """Answers each post with the next of `outcomes`; raises it where it is an error."""

    def __init__(self, *outcomes: PlainAnswer | Exception) -> None:
        self._outcomes = list(outcomes) or [PlainAnswer()]
        self.posted: list[Posted] = []

    async def post(
        self,
        url: str,
        *,
        content: bytes,
        headers: Mapping[str, str],
        timeout_s: float,
        body_s: float,
    ) -> PlainAnswer:
        """Record the call; the last outcome is repeated."""
        self.posted.append(Posted(url, content, dict(headers), timeout_s, body_s))
        outcome = self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
