"""The table of the crash matrix in docs/guarantees.md."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

from core.failpoints import POINTS
from schemas.topics import GROUPS
from tests.documents import between
from tests.faults.harness.ledger import Verdict
from tests.faults.harness.lives import Aim

GUARANTEES = Path(__file__).parents[3] / "docs" / "guarantees.md"
FILLED_BY = "make test-faults"
#: Parts that every role has; the others belong to one role.
OF_EVERY_ROLE = frozenset(
    {"join", "claim", "intake", "prepare", "commit", "dispatch", "advise", "sweep", "leave"}
)
HITS = (1, 3)
HEADING = "| step | by | hits | runs | died | lost | done twice | events twice | POSTs twice |"


@dataclass(frozen=True, slots=True)
class Row:
    """One run.

    Attributes:
        reached: whether the process died there; one life may not hit the step that often.
        whole: whether progress is at the end of each log, and no lease is too long.
    """

    aim: Aim
    reached: bool
    verdict: Verdict
    whole: bool


def aims() -> list[Aim]:
    """Return every step, in every role that has it, at the first and a later hit."""
    return [
        Aim(point, nth, group)
        for point in POINTS
        for group in (GROUPS if point.split(".")[0] in OF_EVERY_ROLE else ("",))
        for nth in HITS
    ]


@dataclass(slots=True)
class Table:
    """The rows, and the document that has the table."""

    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Add the row of a run."""
        self.rows.append(row)

    def write(self) -> None:
        """Write the table into the document, if asked for and every step was tried."""
        wanted = os.environ.get("WRITE_GUARANTEES")
        if not wanted or {row.aim.at for row in self.rows} != set(POINTS):
            return
        text = GUARANTEES.read_text(encoding="utf-8")
        filled = between(text, "matrix", self.text(), by=FILLED_BY)
        GUARANTEES.write_text(filled, encoding="utf-8")

    def text(self) -> str:
        """Return the table in Markdown, a row per step and role."""
        lines = [_when(len(self.rows)), "", HEADING, "|---|---|---|---|---|---|---|---|---|"]
        order = list(POINTS)
        rows = sorted(self.rows, key=lambda row: (order.index(row.aim.at), row.aim.group))
        grouped = groupby(rows, key=lambda row: (row.aim.at, row.aim.group))
        lines += [_line(point, group, list(some)) for (point, group), some in grouped]
        return "\n".join(lines)


def _when(runs: int) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("aiokafka", "asyncpg"))
    return (
        f"{runs} runs on {datetime.now(UTC):%Y-%m-%d}, {packages}, Apache Kafka and PostgreSQL"
        " embedded; no seed: the steps are named, not drawn."
    )


def _line(point: str, group: str, rows: Sequence[Row]) -> str:
    verdicts = [row.verdict for row in rows]
    hits = ", ".join(str(row.aim.nth) for row in rows)
    cells = [
        len(rows),
        sum(row.reached for row in rows),
        sum(len(verdict.lost) for verdict in verdicts),
        sum(len(verdict.twice) for verdict in verdicts),
        sum(verdict.events for verdict in verdicts),
        sum(verdict.posts for verdict in verdicts),
    ]
    return f"| `{point}` | {group or 'any role'} | {hits} | {' | '.join(map(str, cells))} |"
