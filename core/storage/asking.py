"""Requests that act once, however often they are asked: table `asked_once`.

A request takes its key before it acts, and leaves its answer there. Where it acts by PostgreSQL
alone, both are one transaction, and a second request waits for the first one's end.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from core.transaction import Transaction

#: A request that has left no answer for so long has died with its process: it may be asked again.
DEAD_AFTER_S = 60
_TAKE = """
INSERT INTO asked_once AS a (owner, operation, key, fingerprint) VALUES ($1, $2, $3, $4)
ON CONFLICT (owner, operation, key) DO UPDATE SET asked_at = now()
WHERE a.answer IS NULL AND a.fingerprint = excluded.fingerprint
  AND a.asked_at < now() - make_interval(secs => $5)
RETURNING true
"""
_KNOWN = """
SELECT fingerprint, answer::text AS answer FROM asked_once
WHERE owner = $1 AND operation = $2 AND key = $3
"""
_ANSWER = """
UPDATE asked_once SET answer = $4::jsonb WHERE owner = $1 AND operation = $2 AND key = $3
"""
_DROP = "DELETE FROM asked_once WHERE owner = $1 AND operation = $2 AND key = $3"


@dataclass(frozen=True, slots=True)
class AskedOnce:
    """A request with an Idempotency-Key.

    Attributes:
        fingerprint: of its body.
    """

    owner: str
    operation: str
    key: str
    fingerprint: bytes


#: `new`: it is this request's to act; `other`: the key came with another body; `under way`: the
#: first one has not answered yet. Else the answer that was given.
Verdict = Literal["new", "other", "under way"] | Mapping[str, Any]


async def take(tx: Transaction, asked: AskedOnce) -> Verdict:
    """Take a request's key, or return what came of the request that has it."""
    name = (asked.owner, asked.operation, asked.key)
    while not await tx.fetchval(_TAKE, *name, asked.fingerprint, DEAD_AFTER_S):
        known = await tx.fetchrow(_KNOWN, *name)
        if known is None:  # pruned between the two statements: the key is free
            continue
        if known["fingerprint"] != asked.fingerprint:
            return "other"
        if known["answer"] is None:
            return "under way"
        answer: Mapping[str, Any] = json.loads(known["answer"])
        return answer
    return "new"


async def answer(tx: Transaction, asked: AskedOnce, given: Mapping[str, Any]) -> None:
    """Keep the answer of a request that took its key."""
    await tx.execute(_ANSWER, asked.owner, asked.operation, asked.key, json.dumps(dict(given)))


async def drop(tx: Transaction, asked: AskedOnce) -> None:
    """Free the key of a request that did nothing."""
    await tx.execute(_DROP, asked.owner, asked.operation, asked.key)
