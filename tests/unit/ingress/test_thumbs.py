"""Thumbnails that are made on demand: whose file it is that gives none."""

import asyncio
import hashlib
from collections.abc import Sequence

import pytest

from core.errors import ImageMissing
from core.tags import ThumbSize
from ingress.http.problems import Problem
from ingress.reading.thumbs import Content, Pictured, Thumbs
from tests.fakes.pictures import jpeg
from tests.fakes.thumbs import MemoryThumbs, ScriptedThumbs

CONTENT = jpeg(1)
DIGEST = hashlib.sha256(CONTENT).digest()


async def test_a_copy_whose_file_is_gone_says_so_to_those_alone_who_ask_for_it() -> None:
    go = asyncio.Event()

    async def read(uris: Sequence[str]) -> Sequence[Content]:
        await go.wait()
        return [ImageMissing(uri) if uri.startswith("file:") else CONTENT for uri in uris]

    thumbs = Thumbs(MemoryThumbs(), read, ScriptedThumbs())
    gone = asyncio.create_task(
        thumbs.make(Pictured("file:alices/diary.jpg", DIGEST), ThumbSize.SMALL, "alice")
    )
    there = asyncio.create_task(thumbs.make(Pictured("sha256:1", DIGEST), ThumbSize.SMALL, "bob"))
    await asyncio.sleep(0)  # both have asked
    go.set()

    with pytest.raises(Problem, match=r"diary\.jpg"):
        await gone
    assert await there
