"""Web and bucket sources: which failures are the image's and which are outages."""

from dataclasses import dataclass, field

import pytest
from obstore.store import MemoryStore

from core.blobs.sources import BucketSource, WebSource, read_object
from core.errors import (
    BlobStoreAway,
    ConfigurationError,
    ImageMissing,
    ImageUnreadable,
    TargetForbidden,
    TargetUnreachable,
)

URL = "https://photos.example/a.jpg"


@dataclass(frozen=True)
class Answered:
    status: int = 200
    body: bytes = b"photo"
    complete: bool = True


@dataclass
class ScriptedClient:
    """Returns or raises the scripted outcomes in order; the last one is repeated."""

    script: list[Answered | Exception]
    calls: list[str] = field(default_factory=list)

    async def get(self, url: str, *, max_bytes: int, timeout_s: float) -> Answered:
        self.calls.append(url)
        outcome = self.script[min(len(self.calls), len(self.script)) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def source(*script: Answered | Exception) -> tuple[WebSource, ScriptedClient]:
    client = ScriptedClient(list(script))
    return WebSource(client, pause_s=0), client


async def test_a_busy_host_is_asked_again() -> None:
    web, client = source(Answered(503), TargetUnreachable("reset", kind="reset"), Answered())

    assert await web.read(URL, max_bytes=10) == b"photo"
    assert len(client.calls) == 3


async def test_a_dead_host_costs_its_own_image_and_not_the_batch() -> None:
    web, client = source(TargetUnreachable("refused", kind="refused"))

    with pytest.raises(ImageMissing) as caught:
        await web.read(URL, max_bytes=10)
    assert caught.value.reason == "image_unreachable"
    assert len(client.calls) == 3


async def test_our_own_resolver_being_away_is_an_outage() -> None:
    web, client = source(TargetUnreachable("no resolver", kind="dns", infra=True))

    with pytest.raises(BlobStoreAway):
        await web.read(URL, max_bytes=10)
    assert len(client.calls) == 1


@pytest.mark.parametrize("status", [301, 403, 404, 410])
async def test_a_refusal_or_redirect_is_final(status: int) -> None:
    web, client = source(Answered(status))

    with pytest.raises(ImageMissing, match=str(status)):
        await web.read(URL, max_bytes=10)
    assert len(client.calls) == 1


async def test_a_cut_body_is_too_large() -> None:
    web, _ = source(Answered(complete=False))

    with pytest.raises(ImageUnreadable) as caught:
        await web.read(URL, max_bytes=10)
    assert caught.value.reason == "image_too_large"


async def test_what_the_guard_forbids_stays_forbidden() -> None:
    web, client = source(TargetForbidden("10.0.0.1"))

    with pytest.raises(TargetForbidden):
        await web.read(URL, max_bytes=10)
    assert len(client.calls) == 1


@pytest.mark.parametrize(
    "uri", ["s3://other/a.jpg", "s3://bucket-too/a.jpg", "s3://bucket/open-not/a.jpg", "gs://x/a"]
)
async def test_a_bucket_that_nobody_allowed_is_not_read(uri: str) -> None:
    buckets = BucketSource(["s3://bucket/open"])

    with pytest.raises(ImageMissing) as caught:
        await buckets.read(uri, max_bytes=10)
    assert caught.value.reason == "bucket_not_allowed"


async def test_an_object_is_read_refused_by_size_or_missing() -> None:
    store = MemoryStore()
    await store.put_async("я/a b.jpg", b"photo")

    assert await read_object(store, "я/a b.jpg", "s3://b/a", 5) == b"photo"
    with pytest.raises(ImageUnreadable):
        await read_object(store, "я/a b.jpg", "s3://b/a", 4)
    with pytest.raises(ImageMissing):
        await read_object(store, "nothing", "s3://b/nothing", 5)


@pytest.mark.parametrize("path", ["a//b.jpg", "../x.jpg", "a/./b.jpg", "a\x00b.jpg"])
async def test_a_path_that_no_store_can_have_costs_its_own_image(path: str) -> None:
    with pytest.raises(ImageMissing):
        await read_object(MemoryStore(), path, "s3://b/x", 5)


async def test_a_store_that_cannot_be_reached_is_an_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    buckets = BucketSource(["s3://bucket"])

    with pytest.raises(BlobStoreAway):
        await buckets.read("s3://bucket/a.jpg", max_bytes=10)


def test_a_url_that_is_no_store_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigurationError):
        BucketSource(["nothing://bucket"])
