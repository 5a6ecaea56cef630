"""Sources of bytes that others store: files under roots, the web, buckets."""

import asyncio
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol

from obstore.exceptions import (
    BaseError,
    InvalidPathError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
)
from obstore.store import from_url

from core.addresses import shown
from core.blobs.roots import Roots
from core.errors import (
    BlobStoreAway,
    ConfigurationError,
    ImageMissing,
    ImageUnreadable,
    TargetUnreachable,
)

_WEB_TRIES = 3
_WEB_PAUSE_S = 0.5
# S3 answers 403 for a missing object if we may not list. A path that is invalid for every store is
# an error of the record and must not count as an outage.
_NOT_FOR_US = (
    NotFoundError,
    FileNotFoundError,
    PermissionDeniedError,
    InvalidPathError,
    NotSupportedError,
    ValueError,
)
#: What stores answer where a setting is wrong, or what it names is gone: not one object's fault.
_SETTINGS = re.compile(
    r"<Code>(NoSuchBucket|ContainerNotFound|InvalidAccessKeyId|InvalidToken|SignatureDoesNotMatch"
    r"|ExpiredToken|RequestTimeTooSkewed|AuthenticationFailed)</Code>"
)
#: In obstore's message (0.12) the answer stands between these. Before and behind it, the object's
#: path stands as it is, and anybody may give an object the name of an error.
_ANSWER, _DEBUG = "Server returned non-2xx status code", "\nDebug source:"
_SERVER_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


class WebResponse(Protocol):
    """A fetched resource: `core.egress.exchange.Download`."""

    @property
    def status(self) -> int:
        """Return the HTTP status."""
        ...

    @property
    def body(self) -> bytes:
        """Return at most as many bytes as were asked for."""
        ...

    @property
    def complete(self) -> bool:
        """Return False where there was more."""
        ...


class WebClient(Protocol):
    """The guarded client: `core.egress.client.GuardedClient`."""

    async def get(self, url: str, *, max_bytes: int, timeout_s: float) -> WebResponse:
        """Return a resource; redirects are answers.

        Raises:
            TargetForbidden: the guard refuses the address.
            TargetUnreachable: no answer.
        """
        ...


class FileSource:
    """`file:<root>/<relative path>`, under the allowed roots."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots

    async def read(self, uri: str, *, max_bytes: int) -> bytes:
        """Return the file's bytes.

        Raises:
            ImageMissing, ImageUnreadable, BlobStoreAway: as `Roots.read`.
        """
        return await asyncio.to_thread(self._roots.read_uri, uri, max_bytes=max_bytes)


class WebSource:
    """`https:` (and `http:` where the guard's policy allows it).

    A host that does not answer affects only its own images: after a few attempts they fail, and
    they must be announced again later. A failure of our own resolver or proxy is an outage.
    """

    def __init__(
        self, client: WebClient, *, timeout_s: float = 20.0, pause_s: float = _WEB_PAUSE_S
    ) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._pause_s = pause_s

    async def read(self, uri: str, *, max_bytes: int) -> bytes:
        """Return the resource's bytes.

        Raises:
            TargetForbidden: the guard refuses the address.
            ImageMissing: (`image_missing`, `image_unreachable`) no answer, or no 2xx.
            ImageUnreadable: (`image_too_large`) larger than `max_bytes`.
            BlobStoreAway: our own side is away.
        """
        problem: Exception | None = None
        for attempt in range(_WEB_TRIES):
            await asyncio.sleep(self._pause_s * attempt)
            try:
                answer = await self._client.get(
                    uri, max_bytes=max_bytes, timeout_s=self._timeout_s / _WEB_TRIES
                )
            except TargetUnreachable as error:
                if error.infra:
                    raise BlobStoreAway(str(error)) from error
                problem = error
                continue
            if answer.status not in _SERVER_BUSY:
                return _body_of(answer, uri, max_bytes)
            problem = ImageMissing(f"status {answer.status}")
        raise ImageMissing(
            f"{uri}: {problem} ({_WEB_TRIES} tries)", reason="image_unreachable"
        ) from problem


class BucketSource:
    """`s3:`, `gs:` and `az:`, in the buckets that the operator allows.

    Our credentials may open more than this archive's photos, and anyone who writes to the topic
    chooses the URI: so a bucket must be named before it is read.

    Args:
        allowed: URL prefixes, `s3://bucket/prefix`; a URI must lie below one.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        self._stores = {
            prefix.rstrip("/") + "/": open_bucket(prefix, "ARCHIVE_BUCKETS") for prefix in allowed
        }

    async def read(self, uri: str, *, max_bytes: int) -> bytes:
        """Return the object's bytes.

        Raises:
            ImageMissing: (`image_missing`, `bucket_not_allowed`) no such object for us.
            ImageUnreadable: (`image_too_large`) larger than `max_bytes`.
            BlobStoreAway: the store cannot be reached.
        """
        for prefix, store in self._stores.items():
            if uri.startswith(prefix):
                return await read_object(store, uri.removeprefix(prefix), uri, max_bytes)
        raise ImageMissing(
            f"{uri}: not under an allowed bucket (ARCHIVE_BUCKETS)", reason="bucket_not_allowed"
        )


def open_bucket(url: str, variable: str) -> Any:
    """Return the store of a bucket's URL (`s3://bucket/prefix`, `gs://…`, `az://…`); does no I/O.

    Endpoint, region and credentials come from the clouds' usual variables (`AWS_…`, `GOOGLE_…`,
    `AZURE_…`). Two quick retries only: the consumer's loop waits and asks again by itself. Options
    given here hide `AWS_ALLOW_HTTP`, and an `http:` endpoint is the operator's own word already.

    Raises:
        ConfigurationError: no URL of a store that obstore knows.
    """
    try:
        return from_url(
            url.rstrip("/"),
            client_options={"connect_timeout": "5s", "timeout": "30s", "allow_http": "true"},
            retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=10)},
        )
    except (BaseError, ValueError) as error:
        # The first line: more of it is for the store's own developers, and holds what it was given.
        reason = str(error).partition("\n")[0]
        raise ConfigurationError(f"{variable}: {shown(url)}: {reason}") from None


async def read_object(store: Any, path: str, uri: str, max_bytes: int) -> bytes:
    """Return the bytes of one object, refused by its size before they are fetched.

    Raises:
        ImageMissing, ImageUnreadable, BlobStoreAway: as `BucketSource.read`.
    """
    try:
        answer = await store.get_async(path)
        size = int(answer.meta["size"])
        if size > max_bytes:
            raise _too_large(uri, max_bytes)
        return bytes(await answer.bytes_async())
    except _NOT_FOR_US as error:
        if wrong_setting(error):
            raise store_away(uri, error) from error
        raise ImageMissing(f"{uri}: no such object for us") from error
    except BaseError as error:
        raise store_away(uri, error) from error


def wrong_setting(error: Exception) -> str:
    """Return the store's word for a bucket that is not there or credentials that are not good.

    Empty where the error is that of one object.
    """
    _, said, answer = str(error).partition(_DEBUG)[0].rpartition(_ANSWER)
    found = _SETTINGS.search(answer) if said else None
    return found[1] if found else ""


def store_away(place: str, error: Exception) -> BlobStoreAway:
    """Return the outage that a store's error is; the message names what a setting would mend."""
    return BlobStoreAway(f"{place}: {wrong_setting(error) or type(error).__name__}")


def _body_of(answer: WebResponse, uri: str, max_bytes: int) -> bytes:
    if not 200 <= answer.status < 300:
        raise ImageMissing(f"{uri}: status {answer.status}")
    if not answer.complete:
        raise _too_large(uri, max_bytes)
    return answer.body


def _too_large(uri: str, max_bytes: int) -> ImageUnreadable:
    return ImageUnreadable(
        f"{uri} is over the limit of {max_bytes} bytes", reason="image_too_large"
    )
