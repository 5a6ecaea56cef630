"""The guarded client of the roles that read pictures or send webhooks."""

from typing import cast

import pytest

from consumers.image_bytes import open_image_bytes
from core.errors import TargetForbidden
from core.storage.pool import Pool
from tests.fakes.transactions import NoDatabase


async def test_nothing_is_sent_to_the_archives_own_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "EGRESS_ALLOW_HTTP": "true",
        "EGRESS_ALLOWED_PORTS": "1-65535",
        "EGRESS_ALLOWED_HOSTS": "127.0.0.0/8",
        "INGRESS_PORT": "8099",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9098",
        "DATABASE_URL": "postgresql://a:b@127.0.0.1:5439/c",
        "TELEMETRY_METRICS_PORT": "9109",
    }.items():
        monkeypatch.setenv(name, value)

    async with open_image_bytes(cast("Pool", NoDatabase())) as opened:  # it does no I/O
        for port in (8099, 9098, 5439, 9109):
            with pytest.raises(TargetForbidden, match="the archive itself listens"):
                await opened.client.check(f"http://127.0.0.1:{port}/hook")
        assert (await opened.client.check("http://127.0.0.1:8081/hook")).port == 8081
