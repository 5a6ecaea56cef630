"""The parameters that say which images, and what they mean for the caller at this moment."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from core.relevance.matching import Matched
from core.relevance.terms import NamedLabel
from core.storage.finding import filters
from core.storage.finding.filters import AskedTag, ImageFilter
from core.storage.finding.orders import Order
from core.tags import score_to_int
from core.transaction import Transaction
from ingress.http.parameters import boolean_of, read, wrong
from ingress.http.wording import said
from ingress.models.page.filters import MAX_TAGS, ImageFilterText
from ingress.operations import Call, Parameter
from ingress.reading.language import Meaning
from schemas.query import MAX_SCORE, MAX_TEXT_CHARS

MAX_TAG_CHARS = 200
MAX_TILES = 100  # ids in an address: of 36 characters, 4 kB
#: QUERY_MAX_CHARS may allow less.
TEXT = (("type", "string"), ("maxLength", MAX_TEXT_CHARS))
_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")


@dataclass(frozen=True, slots=True)
class AskedFilter:
    """A filter as it is meant.

    Attributes:
        meaning: of the text; None where there is none.
        named: the labels that make up an image's score, with the text's words for them.
        order: the order that was asked for, or the usual one of such a filter.
    """

    wanted: ImageFilter
    named: tuple[NamedLabel, ...]
    meaning: Meaning | None
    order: Order

    @property
    def matched(self) -> Sequence[Matched]:
        """The labels that the text names."""
        return () if self.meaning is None else self.meaning.matched


def read_filter(call: Call) -> ImageFilterText:
    """Return the filter in the address of a request.

    Raises:
        Problem: `invalid_request` names the parameter.
    """
    given: dict[str, Any] = {}
    for name, reader in _READERS.items():
        texts = call.request.query_params.getlist(name)
        if not texts:
            continue
        if name not in _REPEATED and len(texts) > 1:
            raise wrong(name, "stands twice")
        values = [read(name, text, reader) for text in texts]
        given["ids" if name == "id" else name] = tuple(values) if name in _REPEATED else values[0]
    if len(given.get("ids", ())) > MAX_TILES:
        raise wrong("id", f"{len(given['ids'])} ids; the limit is {MAX_TILES}")
    try:
        return ImageFilterText.model_validate(given, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise wrong(str(first["loc"][0]), said(first)) from error


async def understand(call: Call, asked: ImageFilterText) -> AskedFilter:
    """Return what a filter means for the caller, with the labels of this moment.

    Raises:
        Problem: `invalid_request`: the text is too long, or the order needs tags.
    """
    check_text(call, asked.text)
    meaning = None if asked.text is None else await call.deps.reader.understand(asked.text)
    every = tuple(dict.fromkeys((*asked.all, *((asked.tag,) if asked.tag else ()))))
    async with call.deps.pool.connection() as connection:
        labels = await _labels(connection, (*every, *asked.any, *asked.without))
    named = (
        None
        if meaning is None
        else tuple(one.label.id for one in meaning.matched if one.label.id is not None)
    )
    wanted = ImageFilter(
        owner=call.own_only,
        image_ids=asked.ids,
        job_id=asked.job,
        status=asked.status,
        reason=asked.reason,
        since=asked.since,
        until=asked.until,
        folder=asked.folder,
        camera=asked.camera,
        excluded=asked.excluded,
        hand_tagged=asked.hand_tagged,
        has_tags=asked.has_tags,
        every=tuple(dict.fromkeys(labels[name] for name in every)),
        some=tuple(dict.fromkeys(labels[name] for name in asked.any)),
        without=tuple(dict.fromkeys(labels[name].name for name in asked.without)),
        named=named,
        min_score=score_to_int(asked.min_score or 0),
    )  # fmt: skip
    return AskedFilter(wanted, _named(wanted, meaning), meaning, _order(asked, wanted))


def check_text(call: Call, text: str | None) -> None:
    """Check a text's length.

    Raises:
        Problem: it is longer than a query may be.
    """
    limit = call.deps.max_query_chars
    if text is not None and len(text) > limit:
        raise wrong("text", f"{len(text)} characters; the limit is {limit}")


async def _labels(connection: Transaction, names: Sequence[str]) -> Mapping[str, AskedTag]:
    return dict(zip(names, await filters.tag(connection, names), strict=True))


def _named(wanted: ImageFilter, meaning: Meaning | None) -> tuple[NamedLabel, ...]:
    if meaning is not None:
        return tuple(
            NamedLabel(one.label.id, one.label.name, one.words)
            for one in meaning.matched
            if one.label.id is not None
        )
    tags = dict.fromkeys((*wanted.every, *wanted.some))
    return tuple(NamedLabel(tag.label_id, tag.name) for tag in tags if tag.label_id is not None)


def _order(asked: ImageFilterText, wanted: ImageFilter) -> Order:
    if asked.order is Order.SCORE and wanted.ranked is None:
        raise wrong("order", "score needs text, tag, all or any")
    if asked.order is not None:
        return asked.order
    if wanted.ranked is not None:
        return Order.SCORE
    has_dates = wanted.since is not None or wanted.until is not None
    return Order.TAKEN if has_dates else Order.ARRIVAL


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number such as 0.6")
    return float(text)


def _order_of(text: str) -> Order:
    if text not in set(Order):
        raise ValueError(f"must be one of {', '.join(Order)}")
    return Order(text)


def _id_of(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise ValueError("must be an id such as 123e4567-e89b-12d3-a456-426614174000") from error


_REPEATED = frozenset({"id", "all", "any", "not"})
_READERS: Mapping[str, Callable[[str], Any]] = {
    "id": _id_of, "text": str, "tag": str, "all": str, "any": str, "not": str, "min_score": _number,
    "from": str, "to": str, "folder": str, "camera": str, "status": str, "reason": str,
    "excluded": boolean_of, "hand_tagged": boolean_of, "has_tags": boolean_of, "job": _id_of,
    "order": _order_of,
}  # fmt: skip
#: Names of the parameters of a filter.
NAMES = frozenset(_READERS)
_STRING = (("type", "string"),)
_BOOLEAN = (("type", "boolean"),)
_TAG = (*_STRING, ("minLength", 1), ("maxLength", MAX_TAG_CHARS))
_TAGS = (("type", "array"), ("items", dict(_TAG)), ("maxItems", MAX_TAGS))
_DATE = (*_STRING, ("format", "date-time"))
_ID = (*_STRING, ("format", "uuid"))
_SHORT = (*_STRING, ("minLength", 1), ("maxLength", 200))


def _shown(name: str, schema: tuple[tuple[str, Any], ...], meaning: str = "") -> Parameter:
    field = next(
        one
        for field_name, one in ImageFilterText.model_fields.items()
        if name in {field_name, one.alias}
    )
    return Parameter(name, "query", meaning or field.description or f"Only this {name}.", schema)


#: As `/openapi.json` describes them.
PARAMETERS = (
    Parameter(
        "id",
        "query",
        "Only these images, in this order unless there is another: repeated.",
        (("type", "array"), ("items", dict(_ID)), ("maxItems", MAX_TILES)),
    ),
    _shown("text", TEXT),
    _shown("tag", _TAG),
    _shown("all", _TAGS, "With each of these tags: repeated."),
    _shown("any", _TAGS, "With at least one of these tags: repeated."),
    _shown("not", _TAGS, "With none of these tags: repeated."),
    _shown("min_score", (("type", "number"), ("minimum", 0), ("maximum", MAX_SCORE))),
    _shown("from", _DATE),
    _shown("to", _DATE),
    _shown("folder", (*_STRING, ("minLength", 1), ("pattern", "[^/]"))),
    _shown("camera", _SHORT),
    _shown("status", (*_STRING, ("enum", list(filters.STATUSES)))),
    _shown("reason", _SHORT),
    _shown("excluded", _BOOLEAN),
    _shown("hand_tagged", _BOOLEAN),
    _shown("has_tags", _BOOLEAN, "Whether it has tags."),
    _shown("job", _ID),
)
ORDER = Parameter(
    "order",
    "query",
    "`arrival`: the newest first. `taken`, `taken_asc`: by date. `score`: the surest first. Absent:"
    " `score` with text or tags, `taken` with dates, else `arrival`.",
    (*_STRING, ("enum", list(Order))),
)
