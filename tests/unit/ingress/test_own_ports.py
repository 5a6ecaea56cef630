"""The ingress refuses callbacks to the archive's own servers."""

from contextlib import AsyncExitStack

from core.settings import IngressSettings, KafkaSettings
from ingress.main import _target_guard


async def test_the_guard_of_submissions_knows_where_the_archive_listens() -> None:
    async with AsyncExitStack() as stack:
        settings = IngressSettings(port=8099)
        guard = _target_guard(stack, settings, KafkaSettings(bootstrap_servers="a:9098"))

        assert {8099, 9098} <= guard.policy.own_ports
