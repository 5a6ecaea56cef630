"""A receiver of webhooks, as a user would write it: it verifies each before it reads it."""

import base64
import json
import queue
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from standardwebhooks import Webhook, WebhookVerificationError

from standalone.ports import HOST

MAX_BODY_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Callback:
    """One webhook whose signature was right.

    Attributes:
        picture: the file of its image; None where it has none.
    """

    webhook_id: str
    body: dict[str, Any]
    picture: Path | None


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # with the default of 5, the sixth of simultaneous ones waits a second


class CallbackReceiver:
    """Listens on loopback for as long as its block runs; `take` returns verified callbacks.

    Args:
        secret: `whsec_…` of the key whose queries are answered here.
        folder: the folder of received pictures.
    """

    def __init__(self, secret: str, folder: Path) -> None:
        self._webhook = Webhook(secret)
        self._folder = folder
        self._callbacks: queue.Queue[Callback] = queue.Queue()
        self.refused = 0  #: requests with a wrong signature
        self._server = _Server((HOST, 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The address of callbacks."""
        return f"http://{HOST}:{self._server.server_address[1]}/callbacks"

    def take(self, timeout_s: float) -> Callback | None:
        """Return the next callback; None where none comes in time."""
        try:
            return self._callbacks.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def receive(self, headers: dict[str, str], body: bytes) -> int:
        """Verify one request and keep its content; return the HTTP status."""
        try:
            self._webhook.verify(body, headers)
        except WebhookVerificationError:
            self.refused += 1
            return 401
        message = json.loads(body)
        picture = self._write_picture(message["data"].get("image"))
        self._callbacks.put(Callback(headers["webhook-id"], message, picture))
        return 204

    def _write_picture(self, image: dict[str, Any] | None) -> Path | None:
        if image is None or "base64" not in image:
            return None
        # The sender chose the name: only its last part is used.
        path = self._folder / f"{image['id'][:8]}-{Path(image['path']).name}"
        path.write_bytes(base64.b64decode(image["base64"]))
        return path

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", "0"))
                if length > MAX_BODY_BYTES:
                    self.send_error(413)
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                self.send_response(receiver.receive(headers, self.rfile.read(length)))
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Log nothing: the terminal shows the demo."""

        return Handler
