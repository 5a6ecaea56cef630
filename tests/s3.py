"""An S3 server of this process (moto's), with a bucket, a user, and credentials that it checks."""

import importlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from standalone.ports import HOST, choose_port
from tests.servers import first_port

BUCKET = "photos"
FIRST_PORT = 440  # in the range of this worker
_POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
    }
)


@dataclass(slots=True)
class S3Server:
    """A server that can be stopped and started again with what it holds."""

    port: int
    access_key: str = ""
    secret: str = ""
    _server: Any = None

    @property
    def endpoint(self) -> str:
        """Return its address."""
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        """Start it; what it holds is this process's memory."""
        server = importlib.import_module("moto.server")
        self._server = server.ThreadedMotoServer(ip_address=HOST, port=self.port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        """Stop it: nobody listens there any more."""
        self._server.stop()

    def settings(self) -> dict[str, str]:
        """Return the variables by which obstore finds it and logs in."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
        }


@contextmanager
def running_s3() -> Iterator[S3Server]:
    """Yield a server with a bucket; from here on it looks at credentials and signatures."""
    pytest.importorskip("moto", reason="moto is not installed")
    boto3: Any = importlib.import_module("boto3")
    responses: Any = importlib.import_module("moto.core.responses")
    server = S3Server(choose_port(first_port() + FIRST_PORT))
    server.start()
    authentication = responses.ActionAuthenticatorMixin
    settings: Any = importlib.import_module("moto.settings")
    before = settings.INITIAL_NO_AUTH_ACTION_COUNT
    try:
        login = {"aws_access_key_id": "anybody", "aws_secret_access_key": "anything"}
        where = {"endpoint_url": server.endpoint, "region_name": "us-east-1", **login}
        boto3.client("s3", **where).create_bucket(Bucket=BUCKET)
        iam = boto3.client("iam", **where)
        user = f"archive-{uuid4()}"  # what is kept outlives a server: all of a process share it
        iam.create_user(UserName=user)
        iam.put_user_policy(UserName=user, PolicyName="all", PolicyDocument=_POLICY)
        key = iam.create_access_key(UserName=user)["AccessKey"]
        server.access_key, server.secret = key["AccessKeyId"], key["SecretAccessKey"]
        settings.INITIAL_NO_AUTH_ACTION_COUNT, authentication.request_count = 0, 0
        yield server
    finally:
        settings.INITIAL_NO_AUTH_ACTION_COUNT = before
        server.stop()


def log_in(server: S3Server, monkeypatch: pytest.MonkeyPatch, **changed: str) -> None:
    """Set the variables of a process that uses the server, and no others of the machine."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in (server.settings() | changed).items():
        monkeypatch.setenv(name, value)
