"""A resolver with scripted answers."""

from collections.abc import Mapping, Sequence

from core.egress.addresses import IPAddress, parse_address
from core.errors import TargetUnreachable


class ScriptedResolver:
    """Scripted answers per host, in order; the last one is repeated. Other hosts do not resolve."""

    def __init__(self, answers: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self._answers = {host: list(turns) for host, turns in answers.items()}
        self.asked: list[str] = []

    async def addresses(self, host: str) -> tuple[IPAddress, ...]:
        """Return the next answer for this host."""
        self.asked.append(host)
        turns = self._answers.get(host)
        if not turns:
            raise TargetUnreachable(f"{host}: no such name", kind="dns")
        addresses = turns.pop(0) if len(turns) > 1 else turns[0]
        return tuple(parse_address(text) for text in addresses)
