"""Which of several images that are alike is to be kept."""

from uuid import UUID

import pytest

from core.storage.finding.evidence import Evidence, suggestion


def image(row: int, *, size: int | None) -> Evidence:
    """An image of the same bytes and shape as the others; `row` is the order of tagging."""
    return Evidence(
        image_id=UUID(int=row), path=f"{row}.jpg", row=row, sha256=b"same", width=4, height=3,
        size_bytes=size, camera=None, exif_datetime=None, exif_source=None, excluded=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sizes", "kept", "why"),
    [
        ([None, 900], 0, ("older",)),
        ([900, None], 0, ("older",)),
        ([None, None], 0, ("older",)),
        ([900, 901], 1, ("more_bytes",)),
        ([900, 900], 0, ("older",)),
    ],
)
def test_a_file_whose_size_is_not_known_is_not_worse(
    sizes: list[int | None], kept: int, why: tuple[str, ...]
) -> None:
    found = suggestion([image(row, size=size) for row, size in enumerate(sizes)])

    assert found is not None
    assert (found.keep, found.why) == (UUID(int=kept), why)
