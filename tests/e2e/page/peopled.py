"""An archive that has something to show on every screen, and keys that see different things."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from standalone.demo.photos import copy_free_photos
from tests.e2e.archive import RunningArchive, running_archive

SETTINGS = {"DELIVERY_SCHEDULE_S": "0,600,600", "INGRESS_REQUESTS_PER_SECOND": "2000"}
#: Beside the demo's own key: nothing of the archive is theirs.
OTHERS = {"stranger": "upload,query,read,paths", "uploader": "upload"}


@dataclass(frozen=True, slots=True)
class PeopledArchive:
    """A running archive and what was put into it.

    Attributes:
        keys: by name: `full` sees all that was put in, `admin` may do everything.
        images: ids of the photos, by file name.
        failing_query: a query whose webhook was answered 500 and waits.
    """

    archive: RunningArchive
    keys: dict[str, str]
    images: dict[str, str]
    failing_query: str
    inbox: str

    @property
    def url(self) -> str:
        """Return the address of the ingress."""
        return self.archive.supervisor.ingress_url

    def client(self, key: str) -> httpx.Client:
        """Return a client with one of the keys."""
        headers = {"X-API-Key": self.keys[key]}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    def link(self, key: str) -> str:
        """Return a one-time link of a key into the page."""
        with self.client(key) as client:
            answer = client.post("/session/link")
        assert answer.status_code == 200, answer.text
        url: str = answer.json()["url"]
        return url


@contextmanager
def peopled_archive(folder: Path) -> Iterator[PeopledArchive]:
    """Start an archive with photos, two alike, one unreadable, and a webhook that failed."""
    with running_archive("page", SETTINGS) as archive:
        made = {name: _key(archive, name, scopes) for name, scopes in OTHERS.items()}
        keys = {"full": archive.access.key, **made, "admin": _key(archive, "admin", "admin")}
        photos = {file.name: file.read_bytes() for file in copy_free_photos(folder)}
        photos |= {
            "cut.jpg": photos["rocket.jpg"][:8000],
            "again.jpg": _again(photos["rocket.jpg"]),
        }
        images = {name: _upload(archive, name, content) for name, content in photos.items()}
        for image_id in images.values():
            archive.tags_of(image_id, timeout_s=120)
        inbox = archive.http.post("/inbox", json={}).json()
        archive.http.put(f"/inbox/{inbox['token']}", json={"answer": {"kind": "500"}})
        query = _ask(archive, "a cat on the grass", inbox["url"])
        yield PeopledArchive(archive, keys, images, query, inbox["token"])


def _key(archive: RunningArchive, owner: str, scopes: str) -> str:
    done = archive.command("keys", "create", "--owner", owner, "--scopes", scopes, "--json")
    made: str = archive.json_of(done)["key"]
    return made


def _upload(archive: RunningArchive, name: str, content: bytes) -> str:
    answer = archive.http.post("/images/upload", files={"file": (name, content)})
    assert answer.status_code == 202, answer.text
    image_id: str = answer.json()["images"][0]["image_id"]
    return image_id


def _again(content: bytes) -> bytes:
    """Return the same photo as other bytes, a little smaller."""
    with Image.open(io.BytesIO(content)) as photo:
        width, height = photo.size
        smaller = photo.convert("RGB").resize((width * 3 // 4, height * 3 // 4))
    out = io.BytesIO()
    smaller.save(out, "JPEG", quality=80)
    return out.getvalue()


def _ask(archive: RunningArchive, text: str, callback_url: str) -> str:
    answer = archive.http.post("/images/tags", json={"text": text, "callback_url": callback_url})
    assert answer.status_code == 202, answer.text
    query_id: str = answer.json()["query_id"]

    def tried() -> Any:
        deliveries = archive.http.get(f"/queries/{query_id}").json()["deliveries"]
        return deliveries and deliveries[0]["attempts"]

    archive.wait_for(tried, 60, "the webhook was not tried")
    return query_id
