"""Uploads whose bytes are kept in a bucket: given back, and never said to be missing."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from core.blobs.sources import open_bucket
from tests.fakes.pictures import jpeg
from tests.integration.ingress.photos.test_accepting import upload
from tests.s3 import BUCKET, S3Server, log_in, running_s3

URL = f"s3://{BUCKET}/uploads"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """Start a server with a bucket."""
    with running_s3() as started:
        yield started


@pytest.fixture
def environment(
    environment: Callable[..., None], server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Set the variables of an ingress that keeps bytes in the bucket."""
    environment(ARCHIVE_BLOBS=URL)
    log_in(server, monkeypatch)
    return environment


async def test_an_upload_is_an_object_that_its_link_gives_back(client: httpx.AsyncClient) -> None:
    picture = jpeg(1)
    (entry,) = await upload(client, picture)
    (again,) = await upload(client, picture)

    content = await client.get(f"/images/{entry['image_id']}/content")

    assert content.content == picture
    assert again["image_id"] == entry["image_id"]
    listed = [one["path"] for page in open_bucket(URL, "ARCHIVE_BLOBS").list() for one in page]
    assert len(listed) == 1, "the same bytes are one object"


async def test_while_the_bucket_is_away_nothing_is_accepted_and_nothing_said_missing(
    client: httpx.AsyncClient, server: S3Server
) -> None:
    picture = jpeg(2)
    (entry,) = await upload(client, picture)
    server.stop()
    try:
        refused = await client.post("/images/upload", files={"file": ("a.jpg", jpeg(3))})
        content = await client.get(f"/images/{entry['image_id']}/content")
    finally:
        server.start()

    assert refused.status_code == 503, refused.text
    assert content.status_code == 503, content.text
    assert (await client.get(f"/images/{entry['image_id']}/content")).content == picture
    assert (await upload(client, jpeg(3)))[0]["status"] == "accepted"
