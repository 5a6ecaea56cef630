"""What the lines of a page of text look like, and when two pages differ by them."""

from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from core.storage.finding.texts import LINE_BYTES, texts_differ
from core.vision.decoding.pool import answers
from core.vision.decoding.worker_protocol import PAGE_LONG_SIDE, PAGE_SHORT_SIDE
from core.vision.decoding.writing.lines import CELLS, text_lines
from core.vision.decoding.writing.paper import page_in
from tests.fakes.letters import letter, scanned
from tests.fakes.pictures import photo


def page(image: Image.Image) -> Image.Image | None:
    grey = image.convert("L")
    return page_in(grey, grey.resize((32, 32), Image.Resampling.BILINEAR))


def lines(image: Image.Image) -> bytes | None:
    grey = page(image)
    return None if grey is None else text_lines(np.asarray(grey))


@pytest.mark.parametrize(("paragraphs", "words"), [(1, 60), (2, 60), (5, 70)])
def test_letters_on_one_letterhead_differ(paragraphs: int, words: int) -> None:
    pages = [lines(letter(seed, paragraphs=paragraphs, words=words)) for seed in range(8)]

    assert None not in pages
    for one, other in combinations(pages, 2):
        assert texts_differ(one, other)
        assert texts_differ(other, one)


@pytest.mark.parametrize("seed", range(6))
def test_a_letter_scanned_twice_is_the_same(seed: int) -> None:
    sent = letter(seed)
    copies = [
        sent,
        scanned(sent, seed),
        scanned(sent, 1000 + seed),
        sent.resize((372, 526)),
        sent.crop((22, 31, 722, 1021)),
        sent.point(lambda level: level * 0.7),
    ]
    pages = [lines(copy) for copy in copies]

    assert None not in pages
    assert not any(texts_differ(one, other) for one, other in combinations(pages, 2))


def test_a_line_has_eight_bytes_and_a_letter_some_hundred() -> None:
    made = lines(letter(1, paragraphs=5))

    assert made is not None
    assert CELLS == 8 * LINE_BYTES
    assert len(made) % LINE_BYTES == 0
    assert 15 <= len(made) // LINE_BYTES <= 40


def test_photos_empty_paper_and_small_pages_are_no_pages() -> None:
    ramp = Image.linear_gradient("L").resize((400, 600))

    assert lines(photo(1, (600, 800))) is None
    assert lines(Image.new("L", (600, 800), 250)) is None
    assert lines(ramp) is None
    assert page(letter(1).resize((PAGE_SHORT_SIDE - 1, 361))) is None
    assert page(Image.new("L", (300, 300 * PAGE_LONG_SIDE // PAGE_SHORT_SIDE + 8), 255)) is None


def test_a_page_that_noise_or_a_decoder_made_up_breaks_nothing() -> None:
    chance = np.random.default_rng(20261130)
    for size in ((256, 256), (1024, 256), (256, 1024)):
        text_lines(chance.integers(0, 256, size, np.uint8))
        one_column = np.full(size, 255, np.uint8)
        one_column[::7, 100] = 0
        text_lines(one_column)


def test_the_bytes_are_the_same_on_every_machine() -> None:
    """Stored lines are compared with new ones: other bytes need another column."""
    rows, columns = np.indices((362, 256))
    is_ink = (rows % 12 < 4) & ((columns * (rows // 12 + 3)) % 29 < 14)
    is_ink &= (columns > 20) & (columns < 230) & (rows > 30) & (rows < 330)
    made = text_lines(np.where(is_ink, 20, 240).astype(np.uint8))

    assert made is not None
    assert made[:16].hex() == "364db26d9326c992778c738c718e708e"


def test_nothing_is_said_of_what_is_no_page() -> None:
    made = lines(letter(1))
    assert not texts_differ(None, None)
    assert not texts_differ(made, None)
    assert not texts_differ(None, made)
    assert not texts_differ(made, made)


@pytest.mark.parametrize(
    ("lone", "both", "differ"), [(3, 12, False), (4, 12, True), (3, 36, False), (4, 36, False)]
)
def test_pages_differ_by_four_lines_and_a_sixth_of_all(
    *, lone: int, both: int, differ: bool
) -> None:
    kept = [
        (0b1111 << 4 * (number % 14)).to_bytes(8, "big") for number in range((both - lone) // 2)
    ]
    alone = [(0xFF << 48 | 0xF << number).to_bytes(8, "big") for number in range(0, 4 * lone, 4)]

    assert texts_differ(b"".join(kept), b"".join(kept + alone)) is differ


@pytest.mark.parametrize("size", [(255, 300), (256, 1025), (300, 300), (-1, 256), ("x", 256)])
def test_a_page_of_another_size_is_no_answer(size: tuple[object, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        answers._page({"page": size}, bytearray(300 * 300), 0)
