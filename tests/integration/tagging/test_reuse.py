"""The same bytes are decoded and encoded once, whatever they are called."""

from dataclasses import replace

import pytest

from core.errors import PermanentError
from core.tags import Tagged
from core.vision.decoding.pool.answers import Decoded
from tests.fakes.vision import CAMERA
from tests.integration.tagging.archive import Archive, arrival, digest, picture


async def test_the_same_bytes_at_another_path_and_tagged_again_need_no_model(
    archive: Archive,
) -> None:
    archive.blobs.contents = {f"file:p/{number}.jpg": picture(1) for number in (1, 2, 3)}
    await archive.tag(arrival(1))
    assert archive.model.batches == [1]

    await archive.tag(arrival(2))  # another path
    await archive.tag(arrival(1), arrival(3))  # retag, and another path
    await archive.tag(arrival(1, labels=("cat", "lake")))

    assert archive.model.batches == [1]
    assert sum(archive.reused) == 4
    rows = await archive.rows()
    assert rows["p/2.jpg"]["tags"] == rows["p/3.jpg"]["tags"]
    assert set(rows["p/1.jpg"]["tags"]) == {"cat", "lake"}
    for column in ("sha256", "width", "height", "model", "preprocessing", "exif_datetime"):
        assert len({row[column] for row in rows.values()}) == 1
    assert {row["camera"] for row in rows.values()} == {CAMERA}
    sizes = await archive.pool.fetch("SELECT size_bytes FROM images")
    assert {row["size_bytes"] for row in sizes} == {len(picture(1))}
    [looks] = {row["perceptual_hash"] for row in rows.values()}
    assert looks == int.from_bytes(digest(picture(1))[:8], "big") >> 1


async def test_what_was_tagged_before_there_were_hashes_is_decoded_once_more(
    archive: Archive,
) -> None:
    archive.blobs.contents = {f"file:p/{number}.jpg": picture(1) for number in (1, 2, 3)}
    await archive.tag(arrival(1))
    await archive.pool.execute("UPDATE tagged_images SET perceptual_hash = NULL")

    await archive.tag(arrival(1))
    await archive.tag(arrival(2), arrival(3))

    assert archive.model.batches == [1, 1]
    rows = await archive.rows()
    assert len({row["perceptual_hash"] for row in rows.values()} - {None}) == 1


async def test_a_thumbnail_is_offered_once_under_the_hash_of_the_bytes(archive: Archive) -> None:
    archive.blobs.contents = {f"file:p/{number}.jpg": picture(number % 2) for number in range(4)}
    await archive.tag(*map(arrival, range(4)))
    await archive.tag(arrival(0))

    assert sorted(archive.thumbs) == sorted(digest(picture(number)) for number in (0, 1))
    for key, jpeg in archive.thumbs.items():
        assert jpeg == b"\xff\xd8" + key + b"\xff\xd9"
    colours = await archive.pool.fetch("SELECT sha256, colour FROM images")
    assert {row["colour"] for row in colours} == {
        int.from_bytes(row["sha256"][:3], "big") for row in colours
    }


async def test_a_decoder_cannot_put_its_picture_under_the_hash_of_another(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one that was taken over could say: that its bytes are somebody else's."""
    honest, victims = archive.decoder.decode, digest(b"the victim's photo")

    async def lying(data: bytes) -> object:
        found = await honest(data)
        assert isinstance(found, Decoded)
        return replace(found, sha256=victims)

    monkeypatch.setattr(archive.decoder, "decode", lying)
    archive.blobs.contents = {"file:p/1.jpg": picture(1)}
    await archive.tag(arrival(1))

    assert list(archive.thumbs) == [digest(picture(1))]
    assert (await archive.rows())["p/1.jpg"]["sha256"] == digest(picture(1))


async def test_what_is_known_of_a_file_goes_with_its_bytes(archive: Archive) -> None:
    archive.blobs.contents = {f"file:p/{number}.jpg": picture(1) for number in (1, 2)}
    await archive.tag(arrival(1))
    await archive.pool.execute(
        "UPDATE tagged_images SET exif_datetime = '2024-05-15 14:30:22', exif_source = 'XMP',"
        " truncated = true"
    )

    await archive.tag(arrival(2))

    rows = await archive.rows()
    for column, known in (("exif_source", "XMP"), ("truncated", True)):
        assert rows["p/2.jpg"][column] == known


async def test_twins_in_one_batch_are_encoded_once_and_keep_their_own_wishes(
    archive: Archive,
) -> None:
    archive.blobs.contents = {
        f"file:p/{number}.jpg": picture(number % 2) for number in range(6)
    } | {"file:p/6.jpg": b"no picture", "file:p/7.jpg": b"no picture"}

    items = await archive.prepare(
        *(arrival(number, top_k=1 + number // 2) for number in range(6)), arrival(6), arrival(7)
    )

    assert sum(archive.model.batches) == 2
    plans = [item.plan for item in items]
    tagged = [plan for plan in plans if isinstance(plan, Tagged)]
    assert [len(plan.tags.tags) for plan in tagged] == [1, 1, 2, 2, 3, 3]
    assert [plan.tags.sha256 for plan in tagged] == [
        tagged[0].tags.sha256,
        tagged[1].tags.sha256,
    ] * 3
    assert [isinstance(plan, PermanentError) for plan in plans[6:]] == [True, True]


async def test_reused_tags_are_those_of_the_labels_in_force(archive: Archive) -> None:
    await archive.tag(arrival(1))
    await archive.define("lynx", "harbour", "train", "moon")

    await archive.tag(arrival(1))

    assert (await archive.rows())["p/1.jpg"]["tags"] == (
        await archive.oracle(("lynx", "harbour", "train", "moon"), 1)
    )["p/1.jpg"]
    assert archive.model.batches == [1]


async def test_another_model_or_preprocessing_encodes_for_itself(archive: Archive) -> None:
    await archive.tag(arrival(1))
    other = Archive(archive.pool)
    other.model.identity = "other@1"
    before = (await archive.rows())["p/1.jpg"]

    await other.tag(arrival(1))

    assert other.model.batches == [1]
    after = (await archive.rows())["p/1.jpg"]
    assert after["model"] == "other@1"
    assert after["perceptual_hash"] == before["perceptual_hash"], "the pixels are the same"
