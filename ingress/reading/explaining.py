"""Why a search finds an image, or why it does not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from core.relevance.terms import Term, terms_of
from core.storage.archive.images import ImageStatus
from core.storage.finding import image_pages
from core.storage.finding.filters import ImageFilter
from core.storage.finding.image_pages import PagedImage
from core.storage.finding.misses import misses
from core.storage.finding.orders import Order
from core.tags import score_to_float, score_to_int
from core.transaction import Transaction
from ingress.reading.filters import AskedFilter

_UNTAGGED = {
    "accepted": ("not_tagged", "it is not tagged yet"),
    "failed": ("failed", "it could not be tagged"),
    "missing": ("missing_file", "its file is gone"),
}


@dataclass(frozen=True, slots=True)
class Missing:
    """A tag that was asked for and does not count.

    Attributes:
        words: of the text, that name it.
        is_weak: the image has it, and not as surely as asked for.
    """

    tag: str
    words: tuple[str, ...]
    is_weak: bool


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an image is not found: a stable code, and words for it."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class ExplainedSearch:
    """What a search makes of one image.

    Attributes:
        terms: what its score is the sum of, or would be.
        reasons: none where it is found.
        best: what the search finds first.
    """

    is_found: bool
    terms: tuple[Term, ...]
    missing: tuple[Missing, ...]
    reasons: tuple[Reason, ...]
    best: PagedImage | None

    @property
    def score(self) -> float | None:
        """The sum of the terms; None where there are none."""
        return score_to_float(sum(term.score for term in self.terms)) if self.terms else None


async def explain(
    connection: Transaction, asked: AskedFilter, image: ImageStatus
) -> ExplainedSearch:
    """Return what a search makes of an image, by the statements that search."""
    wanted = asked.wanted
    order = Order.ARRIVAL if wanted.ranked is None else Order.SCORE
    own = replace(wanted, image_ids=(image.image_id,))
    found = await image_pages.page(connection, own, order, 1)
    best = await image_pages.page(connection, wanted, asked.order, 1)
    shown = {tag["tag"]: score_to_int(tag["score"]) for tag in image.tags or ()}
    reasons: tuple[Reason, ...] = ()
    if found:
        terms = terms_of(asked.named, found[0].scores or {})
    else:
        scores = {one.label_id: shown[one.name] for one in asked.named if one.name in shown}
        terms = terms_of(asked.named, scores)
        failed = await misses(connection, wanted, image.image_id)
        reasons = tuple(_reasons(asked, image, shown, failed)) or (
            Reason("other_filter", "it changed at this moment: ask again"),
        )
    missing = tuple(_missing(asked, shown))
    return ExplainedSearch(bool(found), terms, missing, reasons, best[0] if best else None)


def _missing(asked: AskedFilter, shown: Mapping[str, int]) -> Iterator[Missing]:
    wanted = asked.wanted
    words = {one.name: one.words for one in asked.named}
    names = dict.fromkeys((*words, *(tag.name for tag in (*wanted.every, *wanted.some))))
    least = wanted.min_score if wanted.named is None else 0
    for name in names:
        if name not in shown or shown[name] < least:
            yield Missing(name, words.get(name, ()), is_weak=name in shown)


def _reasons(
    asked: AskedFilter, image: ImageStatus, shown: Mapping[str, int], failed: frozenset[str]
) -> Iterator[Reason]:
    wanted = asked.wanted
    if wanted.named == ():
        yield Reason("no_word_names_a_tag", "no word of the text names a tag")
    if wanted.ranked is not None or wanted.min_score:  # by tags of answers: not every image has any
        yield from _of_status(wanted, image)
    elif "excluded" in failed:
        yield Reason("excluded", f"excluded from the answers: {str(image.excluded).lower()}")
    if wanted.named:
        yield from _of_text(wanted, [one.name for one in asked.named], shown)
    yield from _of_tags(wanted, wanted.min_score if wanted.named is None else 0, shown)
    best = max(shown.values(), default=0)
    if wanted.ranked is None and best < wanted.min_score:
        yield Reason("below_min_score", _compared(best, wanted.min_score))
    if "outside_dates" in failed:
        yield Reason("outside_dates", "it was taken, or arrived without a date, at another time")
    if "other_filter" in failed:
        yield Reason("other_filter", "another parameter does not hold for it")


def _of_status(wanted: ImageFilter, image: ImageStatus) -> Iterator[Reason]:
    if image.status in _UNTAGGED:
        code, detail = _UNTAGGED[image.status]
        why = f": {image.reason}: {image.detail}" if image.reason else ""
        yield Reason(code, f"{detail}{why}")
    if image.excluded and not wanted.excluded:
        yield Reason("excluded", "people excluded it from the answers")
    elif wanted.excluded and not image.excluded:
        yield Reason("excluded", "nobody excluded it from the answers")


def _of_text(
    wanted: ImageFilter, named: Sequence[str], shown: Mapping[str, int]
) -> Iterator[Reason]:
    score = sum(shown.get(name, 0) for name in named)
    if not any(name in shown for name in named):
        yield _absent(named, shown)
    elif score < max(1, wanted.min_score):
        yield Reason("below_min_score", _compared(score, wanted.min_score))


def _of_tags(wanted: ImageFilter, least: int, shown: Mapping[str, int]) -> Iterator[Reason]:
    strong = {name for name, score in shown.items() if score >= least}
    lacks = [tag.name for tag in wanted.every if tag.name not in strong]
    if not any(tag.name in strong for tag in wanted.some):
        lacks += [tag.name for tag in wanted.some]
    absent = [name for name in dict.fromkeys(lacks) if name not in shown]
    if absent:
        yield _absent(absent, shown)
    for name in dict.fromkeys(lacks):
        if name in shown:
            yield Reason("below_min_score", f"{name}: {_compared(shown[name], least)}")


def _absent(names: Sequence[str], shown: Mapping[str, int]) -> Reason:
    none = "" if shown else " (it has no tag)"
    return Reason("tags_missing", f"not among its tags: {', '.join(names)}{none}")


def _compared(score: int, least: int) -> str:
    return f"{score_to_float(score):g} of at least {score_to_float(least):g}"
