import base64
import hmac
import json
import os
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer

KEY = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
TOLERANCE_S = 300  # older requests may be somebody's recording
SEEN: set[str] = set()  # a service keeps these in its database


def is_genuine(headers: Mapping[str, str], body: bytes) -> bool:
    sent_at = headers.get("webhook-timestamp", "")
    signed = f"{headers.get('webhook-id')}.{sent_at}.".encode() + body
    right = b"v1," + base64.b64encode(hmac.digest(KEY, signed, "sha256"))
    # While a secret is being changed there are two signatures; one of them is by yours.
    given = headers.get("webhook-signature", "").encode().split()
    is_signed = any(hmac.compare_digest(right, one) for one in given)
    return is_signed and abs(time.time() - int(sent_at)) <= TOLERANCE_S


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        is_ours = is_genuine(headers, body)
        if is_ours and headers["webhook-id"] not in SEEN:
            SEEN.add(headers["webhook-id"])  # an answer whose 204 got lost comes again
            answer = json.loads(body)
            print(answer["type"], answer["data"]["matched"], flush=True)
        self.send_response(204 if is_ours else 401)
        self.end_headers()


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9000"))), Receiver).serve_forever()
