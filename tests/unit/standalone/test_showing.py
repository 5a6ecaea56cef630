"""What the demo shows at the terminal."""

import io
from typing import Any

from rich.console import Console

from standalone.demo.showing import show_photos


def test_a_photo_without_a_tag_says_so_and_one_that_is_not_tagged_does_not() -> None:
    told = io.StringIO()
    images: list[dict[str, Any]] = [
        {"image_path": "1.jpg", "tags": [{"tag": "cat", "score": 0.9}]},
        {"image_path": "2.jpg", "tags": []},
        {"image_path": "3.jpg", "tags": None},
    ]

    show_photos(Console(file=told, width=100), images)

    lines = [line for line in told.getvalue().splitlines() if ".jpg" in line]
    assert "cat 0.90" in lines[0]
    assert ["no tag" in line for line in lines] == [False, True, False]
