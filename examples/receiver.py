import os
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks import Webhook, WebhookVerificationError  # in .venv


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            answer = Webhook(os.environ["WEBHOOK_SECRET"]).verify(body, dict(self.headers))
            print(answer["type"], answer["data"]["matched"], flush=True)
            self.send_response(204)
        except WebhookVerificationError as error:
            print(f"not signed with WEBHOOK_SECRET: {error}", flush=True)
            self.send_response(401)
        self.end_headers()


HTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9000"))), Receiver).serve_forever()
