"""Which image of several with the same bytes moved where."""

from datetime import UTC, datetime
from uuid import NAMESPACE_URL, uuid5

import pytest

from core.storage.archive.moving import Copy, moves


def copy(path: str, *, arrived: int, decided: int | None = None, gone: bool = False) -> Copy:
    """An image; `arrived` and `decided` are hours of one day."""
    return Copy(
        image_id=uuid5(NAMESPACE_URL, path),
        path=path,
        sha256=b"same",
        is_missing=gone,
        arrived_at=datetime(2026, 5, 1, arrived, tzinfo=UTC),
        decided_at=None if decided is None else datetime(2026, 5, 1, decided, tzinfo=UTC),
        leaves_something=gone and decided is not None,
    )


@pytest.mark.parametrize(
    ("copies", "expected"),
    [
        (  # moved and renamed
            [copy("p/a.jpg", arrived=1, decided=2, gone=True), copy("q/b.jpg", arrived=3)],
            [("p/a.jpg", "q/b.jpg")],
        ),
        (  # the other copy was there when it was excluded: one of two is to stay
            [copy("p/a.jpg", arrived=1, decided=4, gone=True), copy("q/a.jpg", arrived=3)],
            [],
        ),
        (  # of two copies one was excluded; their folder is renamed, and the new one is read first
            [
                copy("p/dup/a.jpg", arrived=1, decided=2, gone=True),
                copy("p/a/a.jpg", arrived=1),
                copy("q/a/a.jpg", arrived=3),
            ],
            [],
        ),
        (
            [
                copy("p/dup/a.jpg", arrived=1, decided=2, gone=True),
                copy("p/a/a.jpg", arrived=1, gone=True),
                copy("q/a/a.jpg", arrived=3),
                copy("q/dup/a.jpg", arrived=3),
            ],
            [("p/dup/a.jpg", "q/dup/a.jpg")],
        ),
        (  # the folder's other copy is there too
            [
                copy("p/dup/a.jpg", arrived=1, decided=2, gone=True),
                copy("p/a.jpg", arrived=1, gone=True),
                copy("q/a.jpg", arrived=3),
                copy("q/dup/a.jpg", arrived=3),
            ],
            [("p/dup/a.jpg", "q/dup/a.jpg")],
        ),
        (  # its own decision is newer
            [
                copy("p/a.jpg", arrived=1, decided=2, gone=True),
                copy("q/a.jpg", arrived=3, decided=4),
            ],
            [],
        ),
        ([copy("p/a.jpg", arrived=1, decided=2, gone=True)], []),
        ([copy("p/a.jpg", arrived=1, decided=2), copy("q/a.jpg", arrived=3)], []),
    ],
)
def test_a_decision_goes_where_the_photo_went(
    copies: list[Copy], expected: list[tuple[str, str]]
) -> None:
    assert [(old.path, new.path) for old, new in moves(copies, [])] == expected


def test_what_arrives_now_came_after_every_decision() -> None:
    old = copy("p/a.jpg", arrived=1, decided=9, gone=True)
    new = copy("q/a.jpg", arrived=3)  # it was here before, and comes back

    assert moves([old, new], []) == []
    assert moves([old, new], [new.image_id]) == [(old, new)]
