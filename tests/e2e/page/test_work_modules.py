"""What the screens about work decide by themselves: labels as text, what is wrong, signatures."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from core.webhooks.signature import format_secret, sign
from tests.e2e.page.faked import ORIGIN, call, faked_page, give, signed_in

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


def test_what_ended_at_another_time_is_told_apart(modules: Page) -> None:
    ended = {"tagging": -700, "tagging_bulk": -702, "deliveries": -300, "parked_images": -703}
    stages = [
        stage(name, "silent", waiting)
        | {"since": datetime.fromtimestamp(1000 + at_s, UTC).isoformat()}
        for (name, at_s), waiting in zip(ended.items(), (2, 0, 6, 0), strict=True)
    ]

    found: list[dict[str, Any]] = call(
        modules, "diagnosis", "diagnose", report(stages=stages), 1_000_000
    )

    assert [(one["key"], one["values"].get("stage")) for one in found] == [
        ("silent", "tagging"), ("same", None), ("silent", "deliveries")
    ]  # fmt: skip
    assert found[1]["values"]["stages"] == ["tagging_bulk", "parked_images"]


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


ONE = "00000000-0000-5000-8000-00000000000a"
TAUGHT = {"name": "dacha", **PLAIN, "by_words": False}


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (TAUGHT | {"photos": [ONE]}, "waits for photos to be tagged"),
        (TAUGHT | {"photos": [ONE], "teaching": {"photos": 1, "is_known": True}}, "1 photo"),
        (TAUGHT | {"teaching": {"photos": 3, "is_known": True}}, "counts until the labels change"),
        (TAUGHT, "no photo gets it"),
    ],
)
def test_what_is_said_of_a_label_by_what_its_photos_taught(
    modules: Page, label: dict[str, Any], said: str
) -> None:
    signed_in(modules)
    now = {"labels": [label], "version": 1, "changed_at": "2026-01-01T00:00:00Z",
           "rescoring": {"is_done": True}}  # fmt: skip
    give(modules, {"GET /labels": now, "GET /tags": {"tags": []}, "GET /stats": {"statuses": {}}})

    modules.evaluate("""async () => {
      const { open } = await import("/labels.js");
      await open(document.getElementById("main"));
    }""")

    row = modules.locator("tr", has_text="dacha")
    expect(row).to_contain_text(said)
    assert ("waits" in row.inner_text()) == ("waits" in said)
    assert "0 photos" not in row.inner_text()


def test_what_a_photo_was_the_answer_to_stands_in_its_thread(modules: Page) -> None:
    signed_in(modules)
    photo = {
        "image_id": ONE, "image_path": "a.jpg", "status": "tagged", "tags": [], "excluded": False,
        "arrived_at": "2026-01-01T00:00:00Z", "tagged_at": "2026-01-01T00:00:01Z", "model": "m",
    }  # fmt: skip
    query = {
        "query_id": "q1", "text": "a cat", "host": "hooks.example.org", "state": "delivered",
        "answered_at": "2026-01-01T00:00:05Z", "finished_at": "2026-01-01T00:00:07Z",
    }  # fmt: skip
    tried = query | {"query_id": "q2", "state": "will_retry", "finished_at": None}
    timeline = {"total": 0, "is_exact": True, "months": []}
    give(modules, {f"GET /images/{ONE}": photo, "GET /queries": {"queries": [tried, query]},
                   "GET /timeline": timeline})  # fmt: skip

    modules.evaluate("""async (id) => {
      const { open } = await import("/photo.js");
      await open(document.getElementById("main"), { id, params: new URLSearchParams() });
    }""", ONE)  # fmt: skip

    steps = modules.locator(".thread li")
    expect(steps).to_have_count(5)
    expect(steps.nth(4)).to_contain_text("delivered → hooks.example.org “a cat”")
    expect(steps.nth(4)).to_contain_text("+2")
    expect(modules.locator(".thread")).to_contain_text("will try again → hooks.example.org")
    assert f"image={ONE}" in modules.evaluate("addressesOf('/queries')[0].address")


def test_arrows_among_the_answers_of_the_inbox_are_not_pulled_back(modules: Page) -> None:
    signed_in(modules)
    box = {"url": "http://127.0.0.1:9/inbox/t", "answer": {"kind": "ok", "delay_s": 10},
           "posts": []}  # fmt: skip
    give(modules, {"GET /inbox/t": box})
    modules.evaluate("""async () => {
      (await import("/api.js")).session().instance.standalone = true;
      window.late = [];
      answers["PUT /inbox/t"] = () => {
        const one = held();
        late.push(one);
        return one.promise;
      };
      const { open } = await import("/inbox.js");
      await open(document.getElementById("main"), { id: "t" });
    }""")
    kinds = modules.locator("input[name=kind]")
    kinds.first.focus()

    for _ in range(3):
        modules.keyboard.press("ArrowDown")
    modules.wait_for_function("late.length === 1")
    expect(kinds.nth(3)).to_be_checked()
    modules.evaluate("late[0].release({})")
    modules.wait_for_function("late.length === 2")

    expect(kinds.nth(3)).to_be_checked()
    expect(modules.locator("fieldset[aria-busy=true]")).to_have_count(1)
    sent = modules.evaluate("addressesOf('/inbox/t').map((one) => one.body?.answer.kind)")
    assert [kind for kind in sent if kind] == ["500", "slow"]
