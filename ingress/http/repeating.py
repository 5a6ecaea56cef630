"""`Idempotency-Key`: the header, and answers that are given again."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from core.storage import asking
from core.storage.asking import AskedOnce
from core.transaction import Transaction
from ingress.http.problems import Extra, FieldError, Problem, retry_later
from ingress.operations import Call, Parameter

IDEMPOTENCY_KEY = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
MAX_KEY_CHARS = 255
KEY_PATTERN = f"^[!-~]{{1,{MAX_KEY_CHARS}}}$"
UNDER_WAY_S = 2
#: Problems of what takes a key, and a header of its answers.
PROBLEMS = ("idempotency_key_reused", "under_way")
REPLAYED_HEADER = (REPLAYED, "`true` where this key came before.")
KEY = Parameter(
    IDEMPOTENCY_KEY,
    "header",
    "The same key acts once, however often it is sent within a day.",
    (("type", "string"), ("pattern", KEY_PATTERN)),
)


def idempotency_key(call: Call) -> str | None:
    """Return the request's key, or None.

    Raises:
        Problem: `invalid_request`.
    """
    key = call.request.headers.get(IDEMPOTENCY_KEY)
    if key is not None and not re.fullmatch(KEY_PATTERN, key):
        detail = (
            f"{IDEMPOTENCY_KEY}: {key[:100]!r} has {len(key)} characters; it takes 1 to"
            f" {MAX_KEY_CHARS} of printable ASCII without spaces"
        )
        raise Problem(
            "invalid_request", detail, Extra(errors=(FieldError(IDEMPOTENCY_KEY, detail),))
        )
    return key


def asked_once(call: Call, operation: str, about: BaseModel | UUID) -> AskedOnce | None:
    """Return the request as it is remembered; None: it came without a key.

    Args:
        call: the request.
        operation: has its keys to itself.
        about: the request's body, or what its path names.
    """
    key = idempotency_key(call)
    if key is None:
        return None
    told = about.model_dump(mode="json") if isinstance(about, BaseModel) else str(about)
    text = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return AskedOnce(call.caller.owner, operation, key, hashlib.sha256(text.encode()).digest())


async def answer_before(tx: Transaction, asked: AskedOnce | None) -> Mapping[str, Any] | None:
    """Return what the same request was answered; None: it is this one's to act.

    Raises:
        Problem: `idempotency_key_reused` where the key came with another request, `under_way` where
            the first one has not answered yet.
    """
    verdict = "new" if asked is None else await asking.take(tx, asked)
    if verdict == "new" or asked is None:
        return None
    if verdict == "other":
        raise Problem(
            "idempotency_key_reused",
            f"Idempotency-Key {asked.key!r} was sent before with another body or path",
        )
    if isinstance(verdict, str):
        raise retry_later(
            "under_way",
            f"the request with Idempotency-Key {asked.key!r} has not been answered yet",
            after_s=UNDER_WAY_S,
        )
    return verdict
