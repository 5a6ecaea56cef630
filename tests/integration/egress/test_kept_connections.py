"""Connections that end while they are kept: no POST is repeated that may have been read."""

import socket
from contextlib import suppress
from threading import Event, Thread
from typing import Self

from core.egress.client import GuardedClient
from tests.fakes.receiver import HostileReceiver
from tests.integration.egress.calling import HOST, failure, post


class HangingUp:
    """A receiver in a thread that answers once a connection, and closes the first when told."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(20)
        self._told, self._closed = Event(), Event()
        self._thread = Thread(target=self._serve)
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._told.set()
        self._listening.close()
        self._thread.join(20)

    def hang_up(self) -> None:
        self._told.set()
        assert self._closed.wait(20)

    def _serve(self) -> None:
        with suppress(OSError):  # nobody asks any more
            for _ in range(2):
                connection, _ = self._listening.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    assert self._told.wait(20)
                self._closed.set()


async def test_a_post_on_a_kept_connection_that_ends_without_an_answer_is_not_sent_again(
    client: GuardedClient, receiver: HostileReceiver
) -> None:
    await post(client, receiver.url("/stale", host=HOST))

    error = await failure(client, receiver.url("/ok", host=HOST))

    assert (error.kind, error.on_kept) == ("reset", True)
    assert len(receiver.received("/ok")) == 1


async def test_a_download_on_a_kept_connection_that_died_is_asked_for_again(
    client: GuardedClient, receiver: HostileReceiver
) -> None:
    url = receiver.url("/stale", host=HOST)
    await client.get(url, max_bytes=100, timeout_s=10)

    assert (await client.get(url, max_bytes=100, timeout_s=10)).status == 200
    assert len(receiver.received("/stale")) == 3


async def test_a_kept_connection_that_its_receiver_has_closed_is_not_used_again(
    client: GuardedClient,
) -> None:
    with HangingUp() as there:
        url = f"http://{HOST}:{there.port}/"
        await post(client, url)
        there.hang_up()  # the event loop cannot have seen it: nothing is awaited between

        assert (await post(client, url)).status == 200
