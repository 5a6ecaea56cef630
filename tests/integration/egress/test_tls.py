"""TLS of the guarded client: names, authorities, versions."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from core.egress.client import EgressLimits
from core.egress.tls import default_ssl_context
from core.errors import ConfigurationError
from tests.fakes.receiver import HostileReceiver
from tests.integration.egress.calling import HOST, client_to, failure, post


def _server_context(certificate: trustme.LeafCert, names: list[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)

    def note(_socket: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        names.append(name or "")

    context.sni_callback = note
    return context


async def test_tls_sees_the_name_while_the_socket_goes_to_the_checked_address() -> None:
    authority, names = trustme.CA(), list[str]()
    server = _server_context(authority.issue_cert(HOST), names)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with (
        HostileReceiver(ssl_context=server) as receiver,
        client_to(ssl_context=trusting) as client,
    ):
        exchange = await post(client, receiver.url("/ok", host=HOST))
        large = await post(client, receiver.url("/ok", host=HOST), content=b"x" * 3_000_000)

    assert (exchange.status, large.status) == (200, 200)
    assert exchange.remote_address == "127.0.0.1"
    assert names == [HOST]
    assert exchange.times_ms.keys() == {"dns", "connect", "tls", "wait"}
    assert large.times_ms.keys() == {"wait"}, "the connection was kept"
    assert receiver.requests[0].headers["host"] == f"{HOST}:{receiver.port}"
    assert len(receiver.requests[1].body) == 3_000_000


async def test_an_authority_of_the_operators_own_file_is_trusted_beside_the_others(
    tmp_path: Path,
) -> None:
    authority = trustme.CA()
    roots = tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(str(roots))
    async with (
        HostileReceiver(ssl_context=_server_context(authority.issue_cert(HOST), [])) as receiver,
        client_to(limits=EgressLimits(ca_file=roots)) as client,
    ):
        assert (await post(client, receiver.url("/ok", host=HOST))).status == 200


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_file_of_authorities_that_cannot_be_used_names_its_variable(
    tmp_path: Path, content: bytes | None
) -> None:
    roots = tmp_path / "roots.pem"
    if content is not None:
        roots.write_bytes(content)

    with pytest.raises(ConfigurationError, match="EGRESS_CA_FILE"):
        default_ssl_context(roots)


async def test_a_certificate_of_another_name_or_authority_is_a_tls_failure() -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    for certificate in (authority.issue_cert("other.example"), stranger.issue_cert(HOST)):
        async with (
            HostileReceiver(ssl_context=_server_context(certificate, [])) as receiver,
            client_to(ssl_context=trusting) as client,
        ):
            error = await failure(client, receiver.url("/ok", host=HOST))
            assert (error.kind, error.infra) == ("tls", False)
            assert receiver.requests == []


async def test_an_expired_certificate_is_a_tls_failure() -> None:
    authority, trusting = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(trusting)
    expired = authority.issue_cert(HOST, not_after=datetime(2020, 1, 1, tzinfo=UTC))
    async with (
        HostileReceiver(ssl_context=_server_context(expired, [])) as receiver,
        client_to(ssl_context=trusting) as client,
    ):
        error = await failure(client, receiver.url("/ok", host=HOST))

    assert (error.kind, error.infra) == ("tls", False)
    assert "expired" in str(error)
    assert receiver.requests == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_tls_1_0_is_not_spoken() -> None:
    authority, trusting = trustme.CA(), default_ssl_context()
    authority.configure_trust(trusting)
    old = _server_context(authority.issue_cert(HOST), [])
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    async with (
        HostileReceiver(ssl_context=old) as receiver,
        client_to(ssl_context=trusting) as client,
    ):
        error = await failure(client, receiver.url("/ok", host=HOST))

    assert error.kind in {"tls", "reset"}  # depends on which side reports it first
    assert not error.infra
    assert receiver.requests == []
