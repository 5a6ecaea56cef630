"""Where a photo is among millions: how many parts of its month are fetched until it is found."""

from typing import Any

import pytest
from playwright.sync_api import Page

from core.storage.finding.timeline import PART_IMAGES
from tests.e2e.page.faked import signed_in

PARTS = 40
LAST = PARTS * PART_IMAGES - 1
#: A photo of a month is named by its place in it; each was taken a second before the one before it.
#: Other months have the same names.
_MONTH = """([parts, each]) => {
  const images = parts * each;
  const begins = Date.parse("2024-05-31T00:00:00Z");
  const rest = "-0000-0000-0000-000000000000";
  window.idOf = (place) => (place + 1).toString(16).padStart(8, "0") + rest;
  window.takenAt = (place) => new Date(begins - place * 1000).toISOString();
  const months = [["2024-06", each * 2, 2], ["2024-05", images, parts], ["2024-04", each * 2, 2]];
  answers["GET /timeline"] = (address) => {
    const from = new URLSearchParams(address.split("?")[1]).get("from");
    const since = from ? (begins - Date.parse(from)) / 1000 + 1 : images;
    return { total: since, is_exact: true, months: months.map(
      ([month, images, parts]) => ({ month, images, mean_ratio: 1.33, parts })) };
  };
  for (const [month] of months) answers[`GET /timeline/${month}`] = (address) => {
    const part = Number(new URLSearchParams(address.split("?")[1]).get("part"));
    const columns = new ArrayBuffer(16 + each * 22), head = new DataView(columns);
    head.setUint32(0, 0x50415431);
    head.setUint32(4, each, true);
    for (let one = 0; one < each; one += 1) head.setUint32(16 + one * 16, part * each + one + 1);
    return columns;
  };
}"""


@pytest.fixture(name="archive")
def _archive(page: Page) -> Page:
    """A page that is answered for an archive with a month of forty parts."""
    signed_in(page)
    page.evaluate(_MONTH, [PARTS, PART_IMAGES])
    return page


def place(page: Page, known: int | None, wanted: int, guess: int | None) -> dict[str, Any]:
    """Return what is found of a photo, and which parts were fetched; one part may be there."""
    found: dict[str, Any] = page.evaluate(
        """async ([known, wanted, guess]) => {
          const { Timeline } = await import("/timeline.js");
          const timeline = await new Timeline({}).load();
          const first = timeline.firsts.get("2024-05");
          if (known !== null) await timeline.columns(first + known);
          asked.length = 0;
          const index = await timeline.placeOf(idOf(wanted), "2024-05", guess ?? undefined);
          const parts = asked.map(({ address }) => Number(address.split("part=")[1]));
          return { place: index - timeline.sections[first].start, index, parts };
        }""",
        [known, wanted, guess],
    )
    return found


@pytest.mark.parametrize("wanted", [0, LAST // 2, LAST])
def test_a_photo_is_found_in_the_part_where_it_was(archive: Page, wanted: int) -> None:
    part = wanted // PART_IMAGES

    found = place(archive, None, wanted, part)

    assert (found["place"], found["parts"]) == (wanted, [part])


@pytest.mark.parametrize("moved", [-1, 1])
def test_a_photo_that_moved_is_looked_for_beside_its_part(archive: Page, moved: int) -> None:
    found = place(archive, None, 20 * PART_IMAGES, 20 - moved)

    assert found["place"] == 20 * PART_IMAGES
    assert len(found["parts"]) <= 3


def test_a_part_that_is_here_is_looked_through_first(archive: Page) -> None:
    found = place(archive, 30, 30 * PART_IMAGES + 5, None)

    assert (found["place"], found["parts"]) == (30 * PART_IMAGES + 5, [])


def test_a_photo_that_is_gone_is_looked_for_in_its_month_alone(archive: Page) -> None:
    found = place(archive, None, LAST + 1, 7)

    assert found["index"] == -1
    assert sorted(found["parts"]) == list(range(PARTS))


@pytest.mark.parametrize("wanted", [1, 20 * PART_IMAGES + 7, LAST])
@pytest.mark.parametrize("source", ["exif_datetime", "arrived_at"])
def test_an_address_of_a_photo_finds_its_neighbours_in_two_steps(
    archive: Page, wanted: int, source: str
) -> None:
    found = archive.evaluate(
        """async ([wanted, source]) => {
          const { neighboursOf } = await import("/neighbours.js");
          const image = { image_id: idOf(wanted), arrived_at: takenAt(wanted) };
          if (source === "exif_datetime") {
            const exif = takenAt(wanted).slice(0, 19).replace("T", " ").replaceAll("-", ":");
            Object.assign(image, { exif_datetime: exif, arrived_at: "2024-06-30T00:00:00Z" });
          }
          asked.length = 0;
          const { index } = await neighboursOf(image, {}, new AbortController().signal);
          const fetched = asked.map(({ address }) => address.split("?")[0]);
          return { index, fetched };
        }""",
        [wanted, source],
    )

    assert found["index"] == 2 * PART_IMAGES + wanted
    counted, within = (found["fetched"].count(one) for one in ("/timeline", "/timeline/2024-05"))
    assert counted == 2  # all months, and what was taken since
    assert within == 1
