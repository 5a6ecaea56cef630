"""A client of the archive: HTTP with a key, as any user's."""

import mimetypes
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from core.errors import PhotoTaggerError

#: A request may take long on a busy machine, and nothing is won by giving up on our own archive.
REQUEST_TIMEOUT_S = 300.0
PROBE_TIMEOUT_S = 10.0  # of one question whether it is ready; then the next is asked
POLL_S = 0.2


class ArchiveFailed(PhotoTaggerError):
    """The archive answered with an error, or not in time."""


class ArchiveClient:
    """Requests to the ingress.

    Args:
        url: its address on this machine.
        key: an API key.
        certificate: the file by which it speaks TLS, if it does.
        check: is called while something is waited for; what it raises ends the waiting.
    """

    def __init__(
        self,
        url: str,
        key: str,
        certificate: Path | None = None,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        self._check = check
        self._http = httpx.Client(
            base_url=url,
            headers={"X-API-Key": key},
            timeout=REQUEST_TIMEOUT_S,
            trust_env=False,
            verify=True if certificate is None else _trusting(certificate),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def wait_until_ready(self, timeout_s: float) -> None:
        """Wait for `/readyz`.

        Raises:
            ArchiveFailed: not in time.
        """
        for _ in _until(timeout_s, "the ingress is not ready"):
            self._check()
            try:
                if self._http.get("/readyz", timeout=PROBE_TIMEOUT_S).status_code == 200:
                    return
            except httpx.TransportError:
                continue

    def get(self, path: str) -> dict[str, Any]:
        """Return a resource."""
        return _answer(self._http.get(path))

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Post JSON; return the answer."""
        return _answer(self._http.post(path, json=body))

    def page_link(self) -> str:
        """Return a link that signs in to the page once, with the rights of this client's key."""
        return str(self.post("/session/link", {})["url"])

    def upload(self, photos: Sequence[Path]) -> list[dict[str, Any]]:
        """Upload files, four per request; return the answer about each."""
        said: list[dict[str, Any]] = []
        for start in range(0, len(photos), 4):
            files = [
                ("file", (path.name, path.read_bytes(), _media_type(path)))
                for path in photos[start : start + 4]
            ]
            said += _answer(self._http.post("/images/upload", files=files))["images"]
        return said

    def follow_images(
        self, image_ids: Iterable[str], timeout_s: float, *, since: datetime
    ) -> Iterator[dict[str, Any]]:
        """Yield each image as soon as it is tagged or has failed.

        Args:
            image_ids: those of an upload.
            timeout_s: for all of them.
            since: before the upload, by this machine's clock: images that were in the archive
                already are tagged again, and their earlier tags do not count.
        """
        open_ids = list(dict.fromkeys(image_ids))
        for _ in _until(timeout_s, "not all photos were tagged"):
            self._check()
            for image_id in list(open_ids):
                image = self.get(f"/images/{image_id}")
                if image["status"] == "failed" or _is_tagged(image, since):
                    open_ids.remove(image_id)
                    yield image
            if not open_ids:
                return

    def follow_job(self, job_id: str, patience_s: float) -> Iterator[dict[str, Any]]:
        """Yield a directory job again and again until all its photos are dealt with.

        Raises:
            ArchiveFailed: the job failed, or nothing moved for `patience_s`.
        """
        before, moved_at = -1, time.monotonic()
        while True:
            self._check()
            job = self.get(f"/jobs/{job_id}")
            yield job
            if job["state"] in {"failed", "cancelled"}:
                raise ArchiveFailed(f"job {job_id}: {job['state']}: {job['error']}")
            if job["state"] == "done" and settled(job) >= job["announced"]:
                return
            if settled(job) + job["announced"] != before:
                before, moved_at = settled(job) + job["announced"], time.monotonic()
            if time.monotonic() - moved_at > patience_s:
                raise ArchiveFailed(f"job {job_id}: nothing was tagged for {patience_s:.0f} s")
            time.sleep(POLL_S)

    def images_of_job(self, job_id: str) -> list[dict[str, Any]]:
        """Return the first 200 images of a directory job with their tags."""
        images: list[dict[str, Any]] = self.get(f"/images?job={job_id}&limit=200")["images"]
        return images


def _trusting(certificate: Path) -> ssl.SSLContext:
    """Return what trusts this certificate and no other, whatever name it was made for.

    People reach the archive by a name; we, on the same machine, by its loopback address.
    """
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _is_tagged(image: Mapping[str, Any], since: datetime) -> bool:
    return image["status"] == "tagged" and datetime.fromisoformat(image["tagged_at"]) >= since


def settled(job: Mapping[str, Any]) -> int:
    """How many of a job's images are dealt with; one that somebody deleted stays so, and is."""
    counts: Mapping[str, int] = job["images"]
    return sum(count for status, count in counts.items() if status != "accepted")


def _media_type(path: Path) -> str:
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def _answer(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        raise ArchiveFailed(
            f"{response.request.method} {response.request.url.path}: "
            f"{response.status_code} {response.text[:500]}"
        )
    answer: dict[str, Any] = response.json()
    return answer


def _until(timeout_s: float, complaint: str) -> Iterator[None]:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        yield
        time.sleep(POLL_S)
    raise ArchiveFailed(f"{complaint} within {timeout_s:.0f} s")
