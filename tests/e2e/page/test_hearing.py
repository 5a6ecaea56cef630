"""Every screen as those who hear it find it: names, landmarks, headings and their order."""

import re
import time
from itertools import pairwise

import pytest
from playwright.sync_api import Browser

from tests.e2e.page.accessibility import NAMED, Heard, heard
from tests.e2e.page.browsing import PATIENCE_MS, Language, Look, Visit
from tests.e2e.page.peopled import PeopledArchive
from tests.e2e.page.staging import FULL, STATES, State
from tests.e2e.page.test_screens import SCREENS, shown

POLL_MS = 200
PLACES = {
    "en": ["Photos", "Duplicates", "Labels", "Queries", "Pipeline"],
    "ru": ["Фото", "Повторы", "Метки", "Запросы", "Конвейер"],
}
#: What must be told on each screen, in this order; what stands between does not matter.
TOLD: dict[str, list[tuple[str, str]]] = {
    "photos": [("heading", "Photos"), ("list", "Photos"), ("link", r"\d+ ?%.*\d{4}|cannot")],
    "list": [("heading", "Photos"), ("table", ""), ("columnheader", "."), ("checkbox", r"\w")],
    "photo": [("link", "Photos"), ("image", r"\d+ ?%"), ("heading", r"\.png"), ("heading", "Tags")],
    "unreadable photo": [("heading", r"cut\.jpg"), ("status", "")],
    "search": [
        ("heading", "кошки on the grass"),
        ("heading", "How the words are read"),
        ("link", r"\d+ ?%"),
    ],
    "duplicates": [("heading", "Duplicates"), ("tablist", "."), ("tab", ".")],
    "labels": [("heading", "Labels"), ("button", "Add a label"), ("table", ""), ("button", "Edit")],
    "queries": [("heading", "Queries"), ("table", ""), ("link", "cat on the grass")],
    "query": [("heading", "cat on the grass"), ("button", "Try now")],
    "pipeline": [("heading", "Pipeline"), ("table", ""), ("rowheader", r"\w")],
    "inbox": [("heading", "Inbox"), ("textbox", "looking for"), ("radio", "200")],
}
_RAW = re.compile(r"\b[a-z]+\.[a-z]+_?[A-Za-z]+$|\[object|undefined|NaN|\{\w+\}")


def faults(told: list[Heard]) -> list[str]:
    """Return what is wrong whatever the screen."""
    found = [f"{one.role} without a name after {told[max(0, at - 1)]}"
             for at, one in enumerate(told) if one.role in NAMED and not one.name]  # fmt: skip
    found += [f"a raw name: {one}" for one in told if _is_raw(one.name)]
    headings = [one for one in told if one.role == "heading"]
    if [one.level for one in headings].count(1) != 1:
        found.append(f"not one heading of level 1: {list(map(str, headings))}")
    found += [
        f"{after} skips a level after {before}"
        for before, after in pairwise(headings)
        if after.level > before.level + 1
    ]
    roles = [one.role for one in told]
    found += [
        f"{roles.count(role)} of {role}" for role in ("main", "banner") if roles.count(role) != 1
    ]
    return found


def _is_raw(name: str) -> bool:
    return bool(_RAW.search(name)) and not re.search(r"\.(jpg|jpeg|png|webp|v\d)\b|https?:|@", name)


def in_order(told: list[Heard], wanted: list[tuple[str, str]]) -> str:
    """Return the first that is not told after those before it; empty: all are."""
    rest = iter(told)
    for role, name in wanted:
        if not any(one.role == role and re.search(name, one.name) for one in rest):
            return f"{role} “{name}”"
    return ""


def heard_with(seen: Visit, wanted: list[tuple[str, str]]) -> tuple[list[Heard], str]:
    """Wait until all of this is told, in this order; return what is, and the first that is not."""
    until = time.monotonic() + PATIENCE_MS / 1000
    while True:
        told = heard(seen)
        lacking = in_order(told, wanted)
        if not lacking or time.monotonic() > until:
            return told, lacking
        seen.page.wait_for_timeout(POLL_MS)


@pytest.mark.parametrize("screen", SCREENS)
def test_a_screen_is_told_with_names_and_in_order(
    browser: Browser, peopled: PeopledArchive, screen: str
) -> None:
    with shown(browser, peopled, screen, FULL, Look()) as seen:
        # What a tile says comes a moment after the tile.
        told, lacking = heard_with(seen, TOLD[screen])

    assert lacking == "", "\n".join(map(str, told))
    assert not (wrong := faults(told)), "\n".join(wrong)
    links = [one.name for one in told if one.role == "link"]
    assert links[0].startswith("Skip")
    ours = [name for name in links if any(name.startswith(place) for place in PLACES["en"])]
    assert [name.split()[0] for name in ours[:5]] == PLACES["en"]


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
@pytest.mark.parametrize("language", PLACES)
@pytest.mark.parametrize("screen", SCREENS)
def test_a_screen_in_any_state_is_told_with_names(
    browser: Browser, peopled: PeopledArchive, screen: str, language: Language, state: State
) -> None:
    with shown(browser, peopled, screen, state, Look(language=language)) as seen:
        told = heard(seen)

    assert not (wrong := faults(told)), "\n".join(wrong)
