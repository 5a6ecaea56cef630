"""What the Pipeline says of a fault: since when, what it means, and what its figures leave out."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.page.faked import give, signed_in

NOW = datetime.now(UTC).replace(hour=12, minute=5, second=0, microsecond=0)
AGO = NOW - timedelta(minutes=3)


def stage(name: str, state: str, **values: Any) -> dict[str, Any]:
    """A stage of `GET /stats/pipeline`."""
    usual = {
        "in_per_s": 1.0, "out_per_s": 0.0, "waiting": 0, "unread": 0, "oldest_waiting_s": None,
        "trend": [0.0] * 60, "is_growing": False, "since": AGO.isoformat(), "detail": None,
    }  # fmt: skip
    return {"name": name, "state": state, **usual, **values}


def shown(page: Page, *stages: dict[str, Any], scopes: tuple[str, ...] = ("admin",),
          **parts: Any) -> None:  # fmt: skip
    """Open the Pipeline over such a document."""
    signed_in(page)
    document = {"at": NOW.isoformat(), "stages": stages, "targets": [], "halted": [],
                "dead_letters": [], "jobs": [], "processes": [process("moving")],
                **parts}  # fmt: skip
    give(page, {"GET /stats/pipeline": document, "GET /targets": {"targets": [], "next": None}})
    page.evaluate(
        """async (scopes) => {
          (await import("/api.js")).session().scopes = scopes;
          const { open } = await import("/pipeline.js");
          await open(document.getElementById("main"));
        }""",
        list(scopes),
    )


def clock(page: Page, moment: datetime) -> str:
    """Return a time as the page writes it."""
    said: str = page.evaluate(
        """async (iso) => (await import("/words.js")).time(iso)""", moment.isoformat()
    )
    return said


def process(state: str) -> dict[str, Any]:
    """A process that was heard of three minutes ago."""
    return {"role": "tagging", "instance": "t-1", "state": state, "detail": None,
            "started_at": AGO.isoformat(), "seen_at": AGO.isoformat(),
            "progressed_at": AGO.isoformat()}  # fmt: skip


def test_a_fault_has_the_time_of_day_beside_how_long_ago_it_was(page: Page) -> None:
    shown(page, stage("tagging", "silent", waiting=6, oldest_waiting_s=90),
          processes=[process("silent")])  # fmt: skip

    at = clock(page, AGO)
    row = page.locator(".stages > tbody > tr")
    assert at.count(":") == 2
    for place in (page.locator(".verdict"), row, page.locator("table.cards").last):
        expect(place).to_contain_text(at)
        expect(place).to_contain_text("3 min")
    expect(page.locator("header")).to_contain_text(clock(page, NOW)[:5])


def test_the_time_of_another_day_has_its_date(page: Page) -> None:
    signed_in(page)

    assert str(NOW.year) not in clock(page, NOW)
    assert clock(page, datetime(2024, 2, 9, 14, 2, 31)).startswith("Feb 9")  # noqa: DTZ001 - local


def test_ages_go_by_the_clock_of_the_archive(page: Page) -> None:
    page.clock.set_fixed_time(NOW + timedelta(hours=5))

    shown(page, stage("tagging", "silent"))

    expect(page.locator(".verdict")).to_contain_text("3 min")


STANDS = {
    "silent": ("did not sign off", AGO.isoformat()),
    "stopped": ("signed off", AGO.isoformat()),
    "never started": ("never started", None),
}


@pytest.mark.parametrize("kind", STANDS)
def test_a_stage_that_stands_still_says_how_its_process_went(page: Page, kind: str) -> None:
    said, since = STANDS[kind]

    shown(page, stage("tagging", kind if kind == "silent" else "stopped", since=since, waiting=2))

    expect(page.locator(".verdict .big")).to_contain_text("Tagging of new photos stands still")
    expect(page.locator(".stages > tbody > tr")).to_contain_text(said)
    others = [text for other, (text, _) in STANDS.items() if other != kind]
    assert not [text for text in others if text in page.locator("main").inner_text()]


def test_a_stage_that_has_stopped_is_said_to_grow_too(page: Page) -> None:
    shown(page, stage("queries", "stopped", is_growing=True, waiting=3, oldest_waiting_s=9))

    row = page.locator(".stages > tbody > tr")
    expect(row).to_contain_text("ended")
    expect(row).to_contain_text("grows")


@pytest.mark.parametrize(
    ("waiting", "unread", "scopes", "said"),
    [
        (6, 6, ("admin",), ["No webhook is due", "6 answers are not in this list"]),
        (6, 1, ("read",), ["None of your webhooks", "1 answer is not", "Of others", "5 more"]),
        (0, 0, ("admin",), ["No webhook is due"]),
    ],
)
def test_what_waits_for_delivery_and_is_at_no_receiver_is_accounted_for(
    page: Page, waiting: int, unread: int, scopes: tuple[str, ...], said: list[str]
) -> None:
    shown(page, stage("deliveries", "silent", waiting=waiting, unread=unread), scopes=scopes)

    receivers = page.locator("section", has=page.get_by_role("heading", name="Receivers")).last
    for text in said:
        expect(receivers).to_contain_text(text)
    assert ("not in this list" in receivers.inner_text()) == bool(unread)


def test_a_gap_in_a_line_says_what_it_is(page: Page) -> None:
    trend = [None] * 20 + [1.0] * 10 + [None] * 5 + [2.0] * 25

    shown(page, stage("tagging", "keeps_up", trend=trend), stage("queries", "idle"))

    charts = page.locator(".spark")
    expect(charts.first.locator(".gap")).to_have_count(2)
    expect(charts.first.locator(".gap title").first).to_have_text("not measured")
    expect(charts.first.get_by_role("img")).to_have_attribute(
        "aria-label", "Tagging of new photos, how long the oldest waited: 1\u00a0sec – 2\u00a0sec"
        " (25 of 60 not measured)"
    )  # fmt: skip
    expect(charts.last.locator(".gap")).to_have_count(0)
    expect(page.locator("main")).to_contain_text("nothing was measured then")
    expect(charts.first.locator("td").nth(1)).to_have_text("not measured")


@pytest.mark.parametrize("now", [0.0, None], ids=["measured", "to come"])
def test_lines_without_a_gap_need_no_legend(page: Page, now: float | None) -> None:
    shown(page, stage("tagging", "idle", trend=[0.0] * 59 + [now]))

    expect(page.locator(".spark")).to_have_count(1)
    expect(page.locator("main")).not_to_contain_text("nothing was measured")
