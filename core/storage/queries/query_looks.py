"""One look at queries: from which table, in which order, by which of its indexes.

A statement says only what is asked for: a condition that allows for an absent parameter would keep
PostgreSQL from its index.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from core.storage.delivery.target_health import WAITS

Status = Literal["accepted", "waiting", "answered"]
State = Literal["waiting", "in_flight", "will_retry", "given_up", "delivered", "stopped"]
Outcome = Literal["query.completed", "query.no_match", "query.failed", "none"]

BUDGET = 20_000  # rows of one look, some 5 µs each
MAX_COUNTED = 10_000

# Literals, so that PostgreSQL sees which of them an index holds.
_STATUSES: dict[Status, str] = {
    "accepted": "status = 'accepted'",
    "waiting": "status = 'waiting'",
    "answered": "status = 'answered'",
}
_OUTCOMES: dict[Outcome, str] = {
    "query.completed": "answer->>'type' = 'query.completed'",
    "query.no_match": "answer->>'type' = 'query.no_match'",
    "query.failed": "answer->>'type' = 'query.failed'",
    "none": "status <> 'answered'",
}
# Of the newest webhook. `state_of` says the same.
_STATES: dict[State, str] = {
    "waiting": "(d.state IS NULL OR d.state = 'due' AND d.attempt = 0)",
    "in_flight": "d.state = 'leased'",
    "will_retry": "d.state = 'due' AND d.attempt > 0",
    "given_up": "d.state = 'dead' AND d.reason IS DISTINCT FROM 'stopped'",
    "delivered": "d.state = 'delivered'",
    "stopped": "d.state = 'dead' AND d.reason = 'stopped'",
}
#: States that are read from webhooks, by an index that holds no others than these.
_BY_WEBHOOK: dict[State, str] = {
    "in_flight": "state = 'leased'",
    "will_retry": "state IN ('due', 'dead')",
    "given_up": "state IN ('due', 'dead')",
    "stopped": "state IN ('due', 'dead')",
}
_OF_QUERY = """query_id, owner, text, callback_url, options, status, answer->>'type' AS outcome,
           answer->>'image_id' AS image_id, accepted_at, answered_at"""
_SHOWN = """query_id, {0}owner, {0}text, {0}callback_url, {0}options, {0}status, {0}outcome,
           {0}accepted_at, {0}answered_at"""
_COLUMNS = "state, target, reason, attempt, next_at, waits_for, finished_at, round"
# A target has its host between two marks; where there is no webhook yet, the URL is read.
_HAS_HOST = r"""(CASE WHEN d.target IS NOT NULL
     THEN position({0}::text IN d.target) > 0 OR position({1}::text IN d.target) > 0
     ELSE trim(BOTH '[]' FROM lower(substring(
         q.callback_url FROM '^[A-Za-z]+://(?:[^/?#@]*@)?(\[[^\]]*\]|[^/?#:]*)'))) = {2} END)"""
_SCANNED_QUERIES = """
    SELECT {of_query}, accepted_at AS at, query_id AS place FROM queries
    WHERE deleted_at IS NULL{inner} ORDER BY {order} LIMIT {budget}
"""
_JOINED_WEBHOOK = f"""
    LEFT JOIN LATERAL (SELECT {_COLUMNS} FROM deliveries
                       WHERE query_id = q.query_id ORDER BY round DESC LIMIT 1) d ON true
"""  # noqa: S608 - constants
# `round >= 0` always holds: it is the name of the indexes that claims must not take.
_SCANNED_WEBHOOKS = """
    SELECT {columns}, query_id, {at} AS at, query_id AS place FROM deliveries
    WHERE round >= 0{inner} ORDER BY {order} LIMIT {budget}
"""
# LIMIT keeps it a look by the key: joined as tables, all queries would be read.
_JOINED_QUERY = f"""
    JOIN LATERAL (SELECT {_OF_QUERY} FROM queries WHERE query_id = d.query_id
                  AND deleted_at IS NULL AND NOT EXISTS (
                      SELECT FROM deliveries e WHERE e.query_id = d.query_id AND e.round > d.round)
                  LIMIT 1) q ON true
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class QueryFilter:
    """Which queries; None: all.

    Attributes:
        since: accepted at or after.
        until: accepted before.
        text: is in the query's text, whatever the case.
        host: of the callback, as operators name it.
        outcome: type of the answer; `none`: not answered.
        image_id: it is the answer.
        by_next_attempt: only what waits for an attempt, the next one first.
        before: (time, query_id) at which the page before ended.
    """

    owner: str | None = None
    status: Status | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    host: str | None = None
    outcome: Outcome | None = None
    image_id: UUID | None = None
    state: State | None = None
    by_next_attempt: bool = False
    before: tuple[datetime, UUID] | None = None


def statement(
    wanted: QueryFilter, limit: int, budget: int = BUDGET
) -> tuple[str, tuple[object, ...]]:
    """Return the statement of a page and its parameters. Only what is asked for stands in it.

    A condition that allows for an absent parameter would keep PostgreSQL from its index.
    """
    look = QueryLook(wanted, budget)
    matching, scan = look.matching(), look.scan
    rows = f"""
        SELECT q.{_SHOWN.format("q.")},
               d.target, d.state, d.attempt, d.next_at, d.reason, d.waits_for, d.finished_at,
               {scan}.at, {scan}.place {matching}
        ORDER BY {look.order(scan)} LIMIT {look.parameter(limit)}
    """
    query = f"""
        SELECT d.{_SHOWN.format("d.")}, d.target, d.state AS webhook, d.attempt, d.next_at,
               d.reason, d.finished_at, d.at, d.place, w.waits_for, w.waits_until
        FROM ({rows}) d {WAITS} ORDER BY {look.order("d")}
    """  # noqa: S608 - as above
    return query, tuple(look.arguments)


class QueryLook:
    """One look at queries: from which table, in which order, with which parameters."""

    def __init__(self, wanted: QueryFilter, budget: int) -> None:
        self.wanted = wanted
        self.budget = budget
        self.arguments: list[object] = []
        self.of_webhooks = wanted.by_next_attempt or wanted.state in _BY_WEBHOOK
        self.scan = "d" if self.of_webhooks else "q"
        self.direction = "" if wanted.by_next_attempt else " DESC"

    def order(self, alias: str) -> str:
        """Return the order of the rows, by the columns of this table."""
        return f"{alias}.at{self.direction}, {alias}.place{self.direction}"

    @property
    def is_budgeted(self) -> bool:
        """Whether a page may end before its rows do, since few of those looked at match."""
        wanted = self.wanted
        unknown = (wanted.text, wanted.host, wanted.state)
        if self.of_webhooks or self._is_common():
            return True
        return any(one is not None for one in unknown)

    def _is_common(self) -> bool:
        """Whether the outcome is that which most have, and no index."""
        return self.wanted.outcome == "query.completed"

    def parameter(self, value: object) -> str:
        """Return the place of a value among the parameters."""
        self.arguments.append(value)
        return f"${len(self.arguments)}"

    def matching(self) -> str:
        """Return FROM and WHERE of the rows that match."""
        scanned = f"FROM ({self._scanned()}) {self.scan}"
        joined = _JOINED_QUERY if self.of_webhooks else _JOINED_WEBHOOK
        conditions = "".join(f" AND {one}" for one in self._outer())
        return f"{scanned} {joined} WHERE true{conditions}"

    def counting(self) -> tuple[str, tuple[object, ...]]:
        """Return the statement that counts, and its parameters."""
        scanned = self._scanned()
        joined = _JOINED_QUERY if self.of_webhooks else _JOINED_WEBHOOK if self.is_budgeted else ""
        conditions = "".join(f" AND {one}" for one in self._outer())
        statement = f"""
            WITH scanned AS MATERIALIZED ({scanned})
            SELECT (SELECT count(*) FROM scanned) AS scanned, (SELECT count(*) FROM (
                SELECT FROM scanned {self.scan} {joined} WHERE true{conditions}
                LIMIT {MAX_COUNTED + 1}) m) AS matched
        """  # noqa: S608 - constants and numbers of parameters
        return statement, tuple(self.arguments)

    def end(self) -> tuple[str, tuple[object, ...]]:
        """Return the statement of the last row that a page looks at, if there are so many."""
        statement = f"""
            SELECT at, place FROM ({self._scanned()}) s OFFSET {self.budget - 1} LIMIT 1
        """  # noqa: S608 - constants and numbers of parameters
        return statement, tuple(self.arguments)

    def _scanned(self) -> str:
        at = "next_at" if self.wanted.by_next_attempt else "created_at"
        if not self.of_webhooks:
            at = "accepted_at"
        inner = "".join(f" AND {one}" for one in self._inner(at))
        order = f"{at}{self.direction}, query_id{self.direction}"
        form = _SCANNED_WEBHOOKS if self.of_webhooks else _SCANNED_QUERIES
        limit = self.budget if self.is_budgeted else MAX_COUNTED + 1
        return form.format(
            of_query=_OF_QUERY, columns=_COLUMNS, at=at, inner=inner, order=order, budget=limit
        )

    def _inner(self, at: str) -> list[str]:
        """Return the conditions that an index has."""
        wanted, conditions = self.wanted, []
        if wanted.owner is not None:  # here, not outside: `end` tells of a row that is looked at
            conditions.append(f"owner = {self.parameter(wanted.owner)}")
        if self.of_webhooks:
            by_state = "state = 'due'" if wanted.by_next_attempt else ""
            conditions.append(by_state or _BY_WEBHOOK[wanted.state or "in_flight"])
        else:
            conditions += self._of_queries("")
            if wanted.image_id is not None:
                conditions.append(f"answer->>'image_id' = {self.parameter(str(wanted.image_id))}")
        if wanted.before is not None:
            place = ", ".join(self.parameter(value) for value in wanted.before)
            conditions.append(f"({at}, query_id) {'<' if self.direction else '>'} ({place})")
        return conditions

    def _of_queries(self, alias: str) -> list[str]:
        wanted, conditions = self.wanted, []
        if wanted.status is not None:
            conditions.append(alias + _STATUSES[wanted.status])
        if wanted.outcome is not None and (alias or not self._is_common()):
            outcome = _OUTCOMES[wanted.outcome]
            if alias:  # the answer itself is not brought along
                outcome = outcome.replace("answer->>'type'", "outcome")
            conditions.append(alias + outcome)
        if wanted.since is not None:
            conditions.append(f"{alias}accepted_at >= {self.parameter(wanted.since)}")
        if wanted.until is not None:
            conditions.append(f"{alias}accepted_at < {self.parameter(wanted.until)}")
        return conditions

    def _outer(self) -> list[str]:
        """Return the conditions for which a row is looked at."""
        wanted = self.wanted
        conditions = self._of_queries("q.") if self.of_webhooks else []
        if wanted.image_id is not None and self.of_webhooks:
            conditions.append(f"q.image_id = {self.parameter(str(wanted.image_id))}")
        if not self.of_webhooks and self._is_common():
            conditions.append("q.outcome = 'query.completed'")
        if wanted.text is not None:
            text = self.parameter(wanted.text)
            conditions.append(f"position(lower({text}) IN lower(q.text)) > 0")
        if wanted.host is not None:
            forms = (f"://{wanted.host}:", f"://[{wanted.host}]:", wanted.host)
            conditions.append(_HAS_HOST.format(*map(self.parameter, forms)))
        if wanted.state is not None:
            conditions.append(_STATES[wanted.state])
        return conditions
