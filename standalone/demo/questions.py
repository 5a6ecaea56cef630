"""What the demo asks, and what it says in the end. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from standalone.demo.receiver import Callback

#: Of the free photos: there is a cat among them, and a palace, which the bundled model calls city.
OF_FREE_PHOTOS = ("We are looking for a cat", "Покажите город, пожалуйста")


def about(images: Sequence[Mapping[str, Any]], labels: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return two questions that these photos can answer: the one in Russian, if words are known.

    Args:
        images: with their tags, best first.
        labels: with their names and the other words for each.
    """
    best = Counter(image["tags"][0]["tag"] for image in images if image.get("tags"))
    common = [tag for tag, _ in best.most_common(2)]
    if not common:
        return list(OF_FREE_PHOTOS)
    words = {label["name"]: label["aliases"] for label in labels}
    first, last = common[0], common[-1]
    russian = next(filter(_is_russian, words.get(last, ())), None)
    second = f"Покажите, пожалуйста: {russian}" if russian else f"Show me a picture of {last}"
    return [f"We are looking for a picture of {first}", second]


def verdict(tagged: int, callbacks: Sequence[Callback | None]) -> tuple[bool, str]:
    """Return whether the demo worked, and what to say.

    Args:
        tagged: how many photos were tagged.
        callbacks: for each question what came; None: nothing.
    """
    kinds = [callback.body["type"] if callback else None for callback in callbacks]
    if not tagged:
        return False, "no photo was tagged"
    if None in kinds:
        return False, f"{kinds.count(None)} of {len(kinds)} questions got no callback"
    if "query.failed" in kinds:
        return False, f"{kinds.count('query.failed')} of {len(kinds)} answers failed"
    answered = kinds.count("query.completed")
    if not answered:
        return False, "the photos were tagged, and none of them answers a question"
    if answered < len(kinds):
        return True, f"it worked; {answered} of {len(kinds)} questions found a photo"
    return True, "it worked"


def skipped(skips: Mapping[str, int]) -> str:
    """Return what a folder has beside photos, as a line; empty where there is nothing."""
    ordered = sorted(skips.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number} {reason.replace('_', ' ')}" for reason, number in ordered)


def _is_russian(word: str) -> bool:
    return any("а" <= letter <= "я" for letter in word.lower())
