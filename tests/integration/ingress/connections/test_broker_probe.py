"""A broker that is slow once is not told to be away; one that refuses is."""

import asyncio
import time

from core.messaging.kafka.cluster import ClusterLook
from core.offsets import Identity
from core.settings import KafkaSettings
from ingress.live.broker_probe import BrokerProbe

SEEN = ClusterLook(Identity("cluster", ""), (1,), ())


async def test_what_a_slow_broker_said_last_holds_for_a_while_and_a_refusal_ends_it() -> None:
    clients: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(  # it never answers
        lambda _, writer: clients.append(writer), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    probe = BrokerProbe(KafkaSettings(bootstrap_servers=f"127.0.0.1:{port}"))
    probe._heard, probe._answered_at = (float("-inf"), SEEN), time.monotonic()

    slow = await probe.brokers()
    server.close()
    for client in clients:
        client.close()
        await client.wait_closed()
    probe._heard = (float("-inf"), SEEN)
    refused = await probe.brokers()

    assert slow == SEEN
    assert refused is None
