"""A resolver that gives what the test wrote down, one answer after the other."""

from collections.abc import Mapping, Sequence

from core.egress.addresses import IPAddress, parse_address
from core.errors import TargetUnreachable


class ScriptedResolver:
    """Answers per host, in turn; the last one is repeated. An unknown host does not resolve."""

    def __init__(self, answers: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self._answers = {host: list(turns) for host, turns in answers.items()}
        self.asked: list[str] = []

    async def addresses(self, host: str) -> tuple[IPAddress, ...]:
        """The next answer for this host."""
        self.asked.append(host)
        turns = self._answers.get(host)
        if not turns:
            raise TargetUnreachable(f"{host}: no such name", kind="dns")
        addresses = turns.pop(0) if len(turns) > 1 else turns[0]
        return tuple(parse_address(text) for text in addresses)
