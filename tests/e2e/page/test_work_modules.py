"""What the screens about work decide by themselves: labels as text, what is wrong, signatures."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from core.webhooks.signature import format_secret, sign
from tests.e2e.page.faked import ORIGIN, call, faked_page

KEY = bytes(range(32))
PLAIN: dict[str, Any] = {
    "aliases": [],
    "templates": [],
    "threshold": None,
    "photos": [],
    "by_words": True,
}


@pytest.fixture(name="modules")
def _modules(browser: Browser) -> Iterator[Page]:
    """An empty page beside the modules."""
    with faked_page(browser) as page:
        page.goto(f"{ORIGIN}/")
        yield page


def test_labels_come_back_from_their_text_as_they_were(modules: Page) -> None:
    labels = [
        {**PLAIN, "name": "cat", "aliases": ["кошка", "кот"]},
        {**PLAIN, "name": "night"},
        {**PLAIN, "name": "a, b: c", "aliases": ["{x}"], "templates": ["a {}"], "threshold": 0.25},
        {**PLAIN, "name": "our dacha", "photos": ["a", "b", "c"], "by_words": False},
    ]

    text = call(modules, "labelset", "textOf", labels)

    assert text.splitlines()[:2] == ["cat: кошка, кот", "night"]
    assert call(modules, "labelset", "parse", text) == {"labels": labels, "faults": []}


def test_a_fault_of_labels_has_its_line_and_column(modules: Page) -> None:
    text = 'cat: кошка\n\n  Cat\n{"name": "q", "foo": 1}\n: y\n{"name": }'

    found = call(modules, "labelset", "parse", text)

    assert [(one["line"], one["column"], one["code"]) for one in found["faults"]] == [
        (3, 3, "twice"),
        (4, 15, "unknown_field"),
        (5, 1, "no_name"),
        (6, 10, "not_json"),
    ]
    assert [one["name"] for one in found["labels"]] == ["cat"]


def test_a_complaint_of_the_server_is_found_in_the_text(modules: Page) -> None:
    labels = [
        {**PLAIN, "name": "cat"},
        {**PLAIN, "name": "dog", "aliases": ["пёс", "собака"]},
    ]

    place = call(modules, "labelset", "placeOf", "/labels/1/aliases/1", labels)

    assert place == {"line": 2, "column": 11, "name": "dog"}
    assert call(modules, "labelset", "placeOf", "/version", labels) is None


def report(**parts: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "halted": [],
        "stages": [],
        "targets": [],
        "dead_letters": [],
        "jobs": [],
    }
    return {**whole, "processes": [{"state": "moving"}], **parts}


def stage(name: str, state: str, waiting: int = 0) -> dict[str, Any]:
    oldest = 44.0 if waiting else None
    return {
        "name": name, "state": state, "waiting": waiting, "oldest_waiting_s": oldest,
        "since": None, "detail": None,
    }  # fmt: skip


def findings(page: Page, document: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = call(page, "diagnosis", "diagnose", document, 0)
    return found


def test_where_all_keeps_up_nothing_is_wrong(modules: Page) -> None:
    document = report(stages=[stage("tagging", "keeps_up", 3), stage("queries", "idle")])

    assert findings(modules, document) == []


def test_one_process_that_ends_is_told_once_by_the_stage_where_most_waits(modules: Page) -> None:
    silent = [stage("tagging_bulk", "silent"), stage("tagging", "silent", 4)]

    first, second = findings(modules, report(stages=[*silent, stage("label_work", "silent")]))

    assert (first["key"], first["values"]["stage"], first["values"]["n"]) == (
        "silent",
        "tagging",
        4,
    )
    assert second["values"]["stages"] == ["tagging_bulk", "label_work"]


def test_a_receiver_that_holds_most_is_named_and_not_told_twice(modules: Page) -> None:
    target = {"target": "https://a.example:443", "waiting": 212, "state": "broken"}
    document = report(stages=[stage("deliveries", "grows", 214)], targets=[target])

    [only] = findings(modules, document)

    assert only["key"] == "one_target"
    assert (only["values"]["held"], only["values"]["total"]) == (212, 214)


def test_the_worst_comes_first(modules: Page) -> None:
    document = report(
        dead_letters=[{"reason": "truncated", "letters": 2, "newest_at": "1970-01-01T00:00:00Z"}],
        stages=[stage("queries", "grows", 5)],
        halted=[{"group": "tagging", "topic": "t", "partition": 3, "reason": "log_truncated"}],
    )

    assert [one["level"] for one in findings(modules, document)] == ["bad", "warn", "note"]


def test_without_any_process_that_is_what_is_wrong(modules: Page) -> None:
    assert [one["key"] for one in findings(modules, report(processes=[]))] == ["nobody"]


@pytest.mark.parametrize(
    ("key", "body", "is_right"),
    [(KEY, '{"text": "кошка"}', True), (KEY, "{}", False), (KEY[::-1], '{"text": "кошка"}', False)],
)
def test_a_signature_is_judged_as_the_archive_makes_it(
    modules: Page, key: bytes, body: str, *, is_right: bool
) -> None:
    # Two secrets while one is being changed: the first signature is by another.
    signed = sign("id-1", 1_700_000_000, '{"text": "кошка"}'.encode(), [b"\1" * 32, KEY])
    given = {"id": "id-1", "timestamp": "1700000000", "body": body, "signatures": signed}

    assert call(modules, "signature", "isSigned", format_secret(key), given) is is_right


def test_what_is_no_secret_is_refused_and_not_called_wrong(modules: Page) -> None:
    script = """([secret]) => import("/signature.js")
        .then((it) => it.isSigned(secret, { id: "", timestamp: "", body: "", signatures: "" }))
        .then(() => "judged", () => "refused")"""

    assert modules.evaluate(script, [format_secret(KEY)]) == "judged"
    assert modules.evaluate(script, ["whsec_???"]) == "refused"


def test_an_answer_of_before_never_takes_the_place_of_a_newer_one(modules: Page) -> None:
    seen = modules.evaluate(
        """async () => {
          const { lastOnly } = await import("/api.js");
          const waiting = [];
          const ask = lastOnly(() => new Promise((resolve, reject) => {
            waiting.push({ resolve, reject });
          }));
          const seen = [];
          const asked = [ask(), ask(), ask()].map((one) => one.then((it) => seen.push(it)));
          waiting[2].resolve("new");
          waiting[0].resolve("old");
          waiting[1].reject(new Error("old"));
          await Promise.all(asked);
          return seen;
        }"""
    )

    assert seen == ["new", "new", "new"]
