"""Pictures that lie in buckets, read by the ingress from a server that speaks S3's GET."""

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from core.errors import ImageMissing
from core.settings import IngressSettings, load
from ingress.main import open_dependencies

CONTENT = b"the bytes of a picture"


class Bucket(BaseHTTPRequestHandler):
    """One object, `photos/2024/cat.jpg`."""

    def do_GET(self) -> None:
        found = self.path == "/photos/2024/cat.jpg"
        self.send_response(200 if found else 404)
        body = CONTENT if found else b""
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Wed, 15 May 2024 14:30:22 GMT")
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def s3() -> Iterator[str]:
    """The address of a server with the bucket."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_pictures_in_an_allowed_bucket_are_shown(
    environment: Callable[..., None], s3: str
) -> None:
    environment(
        ARCHIVE_BUCKETS="s3://photos/2024",
        AWS_ENDPOINT_URL=s3,
        AWS_ACCESS_KEY_ID="reader",
        AWS_SECRET_ACCESS_KEY="secret",
        AWS_REGION="eu-central-1",
    )
    uris = ["s3://photos/2024/cat.jpg", "s3://photos/2024/gone.jpg", "s3://photos/2023/cat.jpg"]
    async with open_dependencies(load(IngressSettings)) as opened:
        cat, gone, elsewhere = await opened.deps.blobs.read_all(uris)

    assert cat == CONTENT
    assert isinstance(gone, ImageMissing)
    assert gone.reason == "image_missing"
    assert isinstance(elsewhere, ImageMissing)
    assert elsewhere.reason == "bucket_not_allowed"
