"""The guarded client against a receiver that behaves badly, over real sockets."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.egress.addresses import IPAddress, parse_networks
from core.egress.answering import RequestTrace
from core.egress.client import EgressLimits, GuardedClient, _failure, open_client
from core.egress.guard import TargetGuard
from core.egress.kept_headers import kept_headers
from core.egress.targets import TargetPolicy
from core.errors import ConfigurationError, TargetForbidden, TargetUnreachable
from core.settings import EgressSettings
from tests.fakes.receiver import HostileReceiver
from tests.fakes.resolver import ScriptedResolver
from tests.integration.egress.calling import (
    ANY_PORT,
    HOST,
    LOOPBACK,
    client_to,
    failure,
    post,
)

# --- what leaves -------------------------------------------------------------------------------


async def test_a_post_arrives_whole_and_its_answer_comes_back(
    client: GuardedClient, receiver: HostileReceiver
) -> None:
    exchange = await post(client, receiver.url("/ok", host=HOST), content=b'{"a":1}')

    request = receiver.requests[0]
    assert (request.method, request.body) == ("POST", b'{"a":1}')
    assert request.headers["host"] == f"{HOST}:{receiver.port}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert (exchange.status, exchange.body_excerpt, exchange.body_complete) == (200, b"ok", True)
    assert exchange.remote_address == "127.0.0.1"
    assert 0 < exchange.took_ms < 10_000


@pytest.mark.parametrize(
    "path", ["/ok?sig=Ab%2FcD%3D", "/a/../b//%2e%2E/c?", '/ok?a[0]={"b"}|c^`<d>&e=%zz', "/ok??#"]
)
async def test_a_url_goes_out_byte_for_byte(
    client: GuardedClient, receiver: HostileReceiver, path: str
) -> None:
    await post(client, receiver.url(path, host=HOST))
    await client.get(receiver.url(path, host=HOST), max_bytes=100, timeout_s=10)

    assert [request.path for request in receiver.requests] == [path.partition("#")[0]] * 2


@pytest.mark.parametrize(
    "path", ["/204-body", "/long-header", "/bad-length", "/500-broken", "/latin-1-reason"]
)
async def test_an_answer_counts_from_its_status_line_on_and_is_not_asked_for_twice(
    client: GuardedClient, receiver: HostileReceiver, path: str
) -> None:
    await post(client, receiver.url("/ok", host=HOST))  # a kept connection: a reset is a retry

    exchange = await post(client, receiver.url(path, host=HOST))
    after = await post(client, receiver.url("/ok", host=HOST))

    assert exchange.status == {"/204-body": 204, "/500-broken": 500}.get(path, 200)
    assert [request.path for request in receiver.requests] == ["/ok", path, "/ok"]
    assert (after.status, after.body_excerpt) == (200, b"ok")


async def test_words_behind_a_status_that_cannot_be_read_change_nothing(
    client: GuardedClient, receiver: HostileReceiver
) -> None:
    url = receiver.url("/latin-1-reason", host=HOST)

    download = await client.get(url, max_bytes=100, timeout_s=10)

    assert (download.status, (await post(client, url)).body_complete) == (200, True)


def test_what_a_library_cannot_read_of_an_answer_does_not_undo_its_status() -> None:
    """The receiver has the webhook: "forbidden" would have it sent again, or given up."""
    error = UnicodeEncodeError("utf-8", "\udce9", 0, 1, "surrogates not allowed")

    assert isinstance(_failure("a", RequestTrace("a", status=200), error), TargetUnreachable)
    assert isinstance(_failure("a", RequestTrace("a"), error), TargetForbidden)


async def test_a_download_needs_more_than_a_status_line(
    client: GuardedClient, receiver: HostileReceiver
) -> None:
    with pytest.raises(TargetUnreachable):
        await client.get(receiver.url("/long-header", host=HOST), max_bytes=100, timeout_s=10)


async def test_the_archives_own_port_is_refused_at_submission_and_at_connect(
    receiver: HostileReceiver,
) -> None:
    policy = TargetPolicy(
        schemes=frozenset({"http"}),
        ports=ANY_PORT,
        allowed_hosts=frozenset({HOST}),
        allowed_networks=LOOPBACK,
        own_ports=frozenset({receiver.port}),
    )
    async with client_to(policy=policy) as client:
        for host in (HOST, "127.0.0.1"):
            url = receiver.url("/ok", host=host)
            with pytest.raises(TargetForbidden, match="the archive itself listens"):
                await client.check(url)
            with pytest.raises(TargetForbidden, match="the archive itself listens"):
                await post(client, url)
            with pytest.raises(TargetForbidden, match="the archive itself listens"):
                await client.get(url, max_bytes=100, timeout_s=10)

    assert receiver.connections == 0


async def test_a_large_body_is_sent_with_its_length_and_without_warnings(
    client: GuardedClient, receiver: HostileReceiver
) -> None:
    content = bytes(range(256)) * 20_000

    await post(client, receiver.url("/ok", host=HOST), content=content)

    assert receiver.requests[0].body == content
    assert receiver.requests[0].headers["content-length"] == str(len(content))
    assert "transfer-encoding" not in receiver.requests[0].headers


async def test_the_environment_does_not_choose_a_proxy(
    monkeypatch: pytest.MonkeyPatch, receiver: HostileReceiver, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {HOST} login user password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for variable in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    async with client_to() as client:
        exchange = await post(client, receiver.url("/ok", host=HOST))

    assert exchange.status == 200
    assert "authorization" not in receiver.requests[0].headers


async def test_cookies_of_an_answer_are_not_sent_back() -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(
            b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, client_to() as client:
        for _ in range(2):
            await client.get(url, max_bytes=10, timeout_s=5)

    assert len(seen) == 2
    assert b"cookie" not in seen[1].lower()


# --- where it may go ---------------------------------------------------------------------------


async def test_a_literal_address_is_checked_although_it_skips_the_resolver(
    receiver: HostileReceiver,
) -> None:
    policy = TargetPolicy(schemes=frozenset({"http"}), ports=ANY_PORT)
    async with client_to(policy=policy) as client:
        with pytest.raises(TargetForbidden, match="loopback"):
            await post(client, receiver.url("/ok"))

    assert receiver.connections == 0


async def test_a_name_that_leads_inside_is_refused_at_connect(receiver: HostileReceiver) -> None:
    policy = TargetPolicy(schemes=frozenset({"http"}), ports=ANY_PORT)
    async with client_to({HOST: [("127.0.0.1",)]}, policy=policy) as client:
        with pytest.raises(TargetForbidden, match=r"hooks\.example: 127\.0\.0\.1 .* loopback"):
            await post(client, receiver.url("/ok", host=HOST))

    assert receiver.connections == 0


@pytest.mark.parametrize("bad", ["10.0.0.1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe"])
async def test_one_bad_address_in_a_mixed_answer_blocks_the_request(
    receiver: HostileReceiver, bad: str
) -> None:
    async with client_to({HOST: [("127.0.0.1", bad)]}) as client:
        with pytest.raises(TargetForbidden):
            await post(client, receiver.url("/ok", host=HOST))

    assert receiver.connections == 0


async def test_a_name_that_moves_inside_between_check_and_request_is_refused(
    receiver: HostileReceiver,
) -> None:
    policy = TargetPolicy(schemes=frozenset({"http"}), ports=ANY_PORT)
    async with client_to({HOST: [("8.8.8.8",), ("127.0.0.1",)]}, policy=policy) as client:
        target = await client.check(receiver.url("/ok", host=HOST))
        with pytest.raises(TargetForbidden):
            await post(client, target.url)

    assert receiver.connections == 0


async def test_the_connection_goes_to_the_checked_address_only(receiver: HostileReceiver) -> None:
    # A second look-up of the same request would get the forbidden address.
    resolver = ScriptedResolver({HOST: [("127.0.0.1",), ("10.0.0.1",)]})
    policy = TargetPolicy(schemes=frozenset({"http"}), ports=ANY_PORT, allowed_networks=LOOPBACK)
    async with GuardedClient(TargetGuard(policy, resolver)) as client:
        exchange = await post(client, receiver.url("/ok", host=HOST))
        assert exchange.remote_address == "127.0.0.1"
        assert resolver.asked == [HOST]

    assert len(receiver.requests) == 1


async def test_a_name_that_moves_inside_between_two_connections_is_refused(
    receiver: HostileReceiver,
) -> None:
    async with client_to({HOST: [("127.0.0.1",), ("10.0.0.1",)]}) as client:
        await failure(client, receiver.url("/lost", host=HOST))
        with pytest.raises(TargetForbidden):
            await post(client, receiver.url("/ok", host=HOST))

    assert receiver.connections == 1


class _BlindAboveTheSocket(TargetPolicy):
    """A guard that lets names and literals pass, so that only the check at the socket is left."""

    def check_resolved(self, host: str, addresses: Sequence[IPAddress]) -> None:
        return


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("127.0.0.1", "10.0.0.1", "fd00::1")])
async def test_the_check_at_the_socket_alone_refuses_too(
    receiver: HostileReceiver, addresses: Sequence[str]
) -> None:
    # Several addresses are tried in tasks of their own, which pass on only OSError.
    policy = _BlindAboveTheSocket(schemes=frozenset({"http"}), ports=ANY_PORT)
    async with client_to({HOST: [addresses]}, policy=policy) as client:
        with pytest.raises(TargetForbidden):
            await post(client, receiver.url("/ok", host=HOST))
        with pytest.raises(TargetForbidden):
            await post(client, receiver.url("/ok"))

    assert receiver.connections == 0


async def test_an_allowed_name_may_lead_inside_and_another_name_may_not(
    receiver: HostileReceiver,
) -> None:
    policy = TargetPolicy(
        schemes=frozenset({"http"}), ports=ANY_PORT, allowed_hosts=frozenset({"receiver"})
    )
    answers = {"receiver": [("127.0.0.1",)], "other": [("127.0.0.1",)]}
    async with client_to(answers, policy=policy) as client:
        assert (await post(client, receiver.url("/ok", host="receiver"))).status == 200
        with pytest.raises(TargetForbidden):
            await post(client, receiver.url("/ok", host="other"))

    assert receiver.connections == 1


@pytest.mark.parametrize("location", ["http://169.254.169.254/latest/", "/ok"])
async def test_a_redirect_is_an_answer_and_is_not_followed(
    client: GuardedClient, receiver: HostileReceiver, location: str
) -> None:
    exchange = await post(client, receiver.url(f"/redirect?{location}", host=HOST))

    assert exchange.status == 302
    assert len(receiver.requests) == 1


async def test_the_second_of_two_addresses_answers_where_the_first_is_dead(
    receiver: HostileReceiver,
) -> None:
    policy = TargetPolicy(
        schemes=frozenset({"http"}),
        ports=ANY_PORT,
        allowed_networks=parse_networks(["127.0.0.0/8", "::1"]),
    )
    async with client_to({HOST: [("::1", "127.0.0.2", "127.0.0.1")]}, policy=policy) as client:
        exchange = await post(client, receiver.url("/ok", host=HOST))

    assert exchange.remote_address == "127.0.0.1"


# --- failures by kind --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/rst", "reset"), ("/lost", "reset"), ("/garbage", "protocol")],
)
async def test_an_answer_that_is_none_is_named_by_kind(
    client: GuardedClient, receiver: HostileReceiver, path: str, kind: str
) -> None:
    error = await failure(client, receiver.url(path, host=HOST))

    assert (error.kind, error.infra) == (kind, False)
    assert HOST in str(error)


@pytest.mark.parametrize("path", ["/rst-body", "/bad-chunks"])
async def test_a_status_counts_even_if_its_body_breaks(
    client: GuardedClient, receiver: HostileReceiver, path: str
) -> None:
    # aiohttp 3.14.5 does not report a broken chunk to the reader, so the deadline ends it.
    exchange = await post(client, receiver.url(path, host=HOST), timeout_s=2)

    assert (exchange.status, exchange.body_complete) == (200, False)


@pytest.mark.parametrize("path", ["/rst-body", "/bad-chunks"])
async def test_a_download_that_breaks_off_is_a_failure(
    client: GuardedClient, receiver: HostileReceiver, path: str
) -> None:
    with pytest.raises(TargetUnreachable):
        await client.get(receiver.url(path, host=HOST), max_bytes=10**6, timeout_s=0.5)


async def test_a_closed_port_is_refused(client: GuardedClient) -> None:
    async with HostileReceiver() as receiver:
        url = receiver.url("/ok", host=HOST)

    assert (await failure(client, url)).kind == "refused"


async def test_a_name_that_does_not_resolve_is_dns(client: GuardedClient) -> None:
    error = await failure(client, "http://unknown.example/")

    assert (error.kind, error.infra) == ("dns", False)


async def test_what_no_library_can_send_is_refused_for_good_and_does_not_escape(
    client: GuardedClient, receiver: HostileReceiver
) -> None:
    """aiohttp raises a plain ValueError here, as idna does for names that it cannot decode."""
    with pytest.raises(TargetForbidden, match=HOST):
        await client.post(
            receiver.url("/ok", host=HOST),
            content=b"{}",
            headers={"x": "a\r\nb"},
            timeout_s=5,
            body_s=2,
        )

    assert receiver.requests == []


async def test_a_plain_port_spoken_to_in_tls_is_a_tls_failure(client: GuardedClient) -> None:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        error = await failure(client, f"https://{HOST}:{port}/")

    assert (error.kind, error.infra) == ("tls", False)


# --- kept connections --------------------------------------------------------------------------


async def test_a_connection_is_kept_between_requests(
    client: GuardedClient, receiver: HostileReceiver
) -> None:
    for _ in range(3):
        await post(client, receiver.url("/ok", host=HOST))

    assert [request.connection for request in receiver.requests] == [1, 1, 1]


async def test_a_reset_on_a_fresh_connection_is_not_asked_again(
    client: GuardedClient, receiver: HostileReceiver
) -> None:
    await failure(client, receiver.url("/rst", host=HOST))

    assert len(receiver.requests) == 1


async def test_connections_to_one_host_are_bounded(receiver: HostileReceiver) -> None:
    async with client_to(limits=EgressLimits(per_host_connections=3)) as client:
        await asyncio.gather(
            *(post(client, receiver.url("/slow/0.02", host=HOST)) for _ in range(12))
        )

    assert receiver.connections == 3
    assert receiver.peak_in_flight == 3


async def test_an_old_connection_is_closed_after_use(receiver: HostileReceiver) -> None:
    async with client_to(limits=EgressLimits(max_connection_age_s=0.0)) as client:
        for _ in range(4):
            await post(client, receiver.url("/ok", host=HOST))

    assert [request.connection for request in receiver.requests] == [1, 1, 2, 2]


async def test_connections_beyond_the_bound_are_not_kept(receiver: HostileReceiver) -> None:
    answers = {"a.example": [("127.0.0.1",)], "b.example": [("127.0.0.1",)]}
    async with client_to(answers, limits=EgressLimits(max_open_connections=1)) as client:
        for host in ("a.example", "b.example", "a.example", "b.example"):
            await post(client, receiver.url("/ok", host=host))

    assert [request.connection for request in receiver.requests] == [1, 2, 1, 3]


async def test_a_cut_answer_does_not_leak_into_the_next_request(
    client: GuardedClient, receiver: HostileReceiver
) -> None:
    for path in ("/huge", "/drip-body", "/gzip"):
        await post(client, receiver.url(path, host=HOST), timeout_s=2)
        exchange = await post(client, receiver.url("/ok", host=HOST))
        assert exchange.body_excerpt == b"ok"


# --- the operator's proxy ----------------------------------------------------------------------


async def test_with_an_egress_proxy_all_requests_go_to_it_and_names_are_its_part(
    receiver: HostileReceiver,
) -> None:
    proxy = f"http://user:secret@127.0.0.1:{receiver.port}"
    policy = TargetPolicy(schemes=frozenset({"http"}), ports=ANY_PORT)
    async with client_to({}, policy=policy, limits=EgressLimits(proxy=proxy)) as client:
        exchange = await post(client, "http://unknown.example/hook")
        with pytest.raises(TargetForbidden):  # literals are still judged here
            await post(client, "http://10.0.0.1/hook")

    assert exchange.status == 200
    assert [request.path for request in receiver.requests] == ["http://unknown.example/hook"]
    assert receiver.requests[0].headers["proxy-authorization"].startswith("Basic ")


async def test_a_dead_egress_proxy_is_not_charged_to_the_target() -> None:
    async with HostileReceiver() as receiver:
        proxy = receiver.url("")
    policy = TargetPolicy(schemes=frozenset({"http"}), ports=ANY_PORT)
    async with client_to(policy=policy, limits=EgressLimits(proxy=proxy)) as client:
        error = await failure(client, "http://hooks.example/")

    assert (error.kind, error.infra) == ("refused", True)


@pytest.mark.parametrize("proxy", ["socks9://x", "not a url", "http://"])
def test_a_proxy_that_cannot_be_used_stops_at_start(proxy: str) -> None:
    guard = TargetGuard(TargetPolicy(), ScriptedResolver({}))
    with pytest.raises(ConfigurationError, match="EGRESS_PROXY"):
        GuardedClient(guard, EgressLimits(proxy=proxy))


# --- from settings -----------------------------------------------------------------------------


async def test_a_client_opens_from_settings_and_keeps_their_rules(
    receiver: HostileReceiver,
) -> None:
    settings = EgressSettings(
        allow_http=True,
        allowed_ports=str(receiver.port),
        allowed_hosts="localhost, 127.0.0.1",
    )
    async with open_client(settings) as client:
        exchange = await post(client, receiver.url("/ok", host="localhost"))
        with pytest.raises(TargetForbidden, match="port 9 is not allowed"):
            await client.check("http://localhost:9/")

    assert (exchange.status, exchange.body_excerpt) == (200, b"ok")


async def test_the_steps_of_an_exchange_are_timed_also_where_no_answer_comes(
    client: GuardedClient, receiver: HostileReceiver
) -> None:
    answered = await post(client, receiver.url("/slow/0.2", host=HOST))
    silent = await failure(client, receiver.url("/silent", host="127.0.0.1"), timeout_s=0.3)
    refused = await failure(client, f"http://{HOST}:1/")

    assert answered.times_ms.keys() == {"dns", "connect", "wait"}
    assert answered.times_ms["wait"] >= 190
    assert silent.times_ms["wait"] >= 100, "what is left of the time-out after connecting"
    assert "wait" not in refused.times_ms
    assert refused.times_ms.keys() >= {"dns", "connect"}


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "X-Auth-Token", "X-Api-Key", "Api-Key", "ApiKey", "X-Vault-Token",
        "X-Amz-Security-Token", "Set-Cookie", "X-Session-Id", "X-XSRF-Token", "Client-Secret",
        "WWW-Authenticate", "X-Refresh-JWT", "X-Key",
    ],
)  # fmt: skip
def test_a_header_whose_name_tells_of_a_secret_is_not_kept(name: str) -> None:
    assert kept_headers([(name.encode(), b"s3cret")]) == ((name.lower(), "(not kept)"),)


@pytest.mark.parametrize(
    "name",
    ["Server", "Retry-After", "X-Request-Id", "X-Keyboard", "X-RateLimit-Remaining-Tokens"],
)
def test_other_headers_are_kept(name: str) -> None:
    assert kept_headers([(name.encode(), b"as it is")]) == ((name.lower(), "as it is"),)


async def test_headers_of_an_answer_are_kept_bounded_and_without_secrets() -> None:
    many = [(b"Set-Cookie", b"session=s3cret"), (b"X-Long", b"x" * 5000), (b"X-Odd", b"\xe9\x00")]
    kept = kept_headers([*many, *[(b"x", b"y")] * 100])

    assert kept[:3] == (
        ("set-cookie", "(not kept)"),
        ("x-long", "x" * 1024),
        ("x-odd", "\u00e9\ufffd"),
    )
    assert len(kept) == 40
