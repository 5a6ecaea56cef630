"""Callback URLs: one message per rule, and one canonical spelling for all later layers."""

from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import yarl
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from core.egress.addresses import parse_address, parse_networks
from core.egress.own_ports import inbox_prefix, own_ports
from core.egress.targets import Target, TargetPolicy
from core.egress.urls import host_name, lane_of
from core.errors import ConfigurationError, TargetForbidden
from core.settings import (
    DatabaseSettings,
    EgressSettings,
    IngressSettings,
    KafkaSettings,
    StandaloneSettings,
    TelemetrySettings,
)

STRICT = TargetPolicy()
LOOSE = TargetPolicy(
    schemes=frozenset({"http", "https"}),
    ports=(range(1, 65536),),
    allowed_hosts=frozenset({"receiver"}),
    allowed_networks=parse_networks(["127.0.0.0/8"]),
)

REFUSED = {
    "http://example.com/": "scheme 'http' is not allowed; allowed: https",
    "ftp://example.com/": "scheme 'ftp'",
    "file:///etc/passwd": "scheme 'file'",
    "gopher://example.com/": "scheme 'gopher'",
    "//example.com/": "scheme '(none)'",
    "example.com": "scheme '(none)'",
    "": "scheme '(none)'",
    "https://example.com:8080/": "port 8080 is not allowed; allowed: 443, 8443",
    "https://example.com:0/": "port 0",
    "https://example.com:99999/": "no usable port",
    "https://example.com:http/": "no usable port",
    "https://user@example.com/": "user name",
    "https://user:pw@example.com/": "user name",
    "https://@example.com/": "user name",
    "https://:443/": "no host",
    "https:///path": "no host",
    "https://./": "no host",
    "https://a..b/": "not a host name",
    "https://-a.example/": "not a host name",
    "https://a-.example/": "not a host name",
    "https://exa$mple.com/": "not a host name",
    f"https://{'a' * 64}.example/": "not a host name",
    f"https://{'a.' * 127}aa/": "256 characters",
    f"https://example.com/{'a' * 2048}": "more than 2048",
    "https://exa%6dple.com/": "percent-encoded",
    "https://[fe80::1%25eth0]/": "zone",
    "https://exa mple.com/": "a space",
    "https://example.com/a b": "a space",
    "https://example.com\\@evil.example/": "backslash",
    "https://example.com/\r\nX-Evil: 1": "control character",
    "https://exa\tmple.com/": "control character",
    "\x00https://example.com/": "control character",
    "https://example.com/\ud800": "control character",
    "https://[::1/": "not a URL",
    "https://[::1]evil.example/": "brackets",
    "https://[v1.x]/": "brackets",
    "https://[::g]/": "not ",
    "https://[1.2.3]/": "not a",
    "https://127.0.0.1/": "127.0.0.1 may not be reached: loopback",
    "https://169.254.169.254/latest/meta-data/": "metadata",
    "https://[::1]/": "::1 may not be reached: loopback",
    "https://[::ffff:127.0.0.1]/": "IPv4-mapped of 127.0.0.1",
    "https://[0:0:0:0:0:ffff:7f00:1]/": "IPv4-mapped of 127.0.0.1",
    "https://[64:ff9b::a9fe:a9fe]/": "NAT64 of 169.254.169.254",
    "https://2130706433/": "unusual spelling",
    "https://0x7f000001/": "unusual spelling",
    "https://017700000001/": "unusual spelling",
    "https://0x7f.0.0.1/": "unusual spelling",
    "https://0177.0.0.1/": "unusual spelling",
    "https://127.000.000.001/": "unusual spelling",
    "https://127.1/": "unusual spelling",
    "https://127.0.1/": "unusual spelling",
    "https://127.0.0.0x1/": "unusual spelling",
    "https://0/": "unusual spelling",
    "https://0x/": "unusual spelling",
    "https://1.2.3.4.5/": "unusual spelling",
    "https://256.1.1.1/": "unusual spelling",
    "https://127.0.0.1./": "loopback",
    "https://\uff11\uff12\uff17.0.0.1/": "loopback",
    "https://127\u30020\u30020\u30021/": "loopback",
    "https://\u2460\u2461\u2466.0.0.1/": "loopback",
    "https://a\u0338b\u2028.example/": "not an international host name",
    "https://xn--a.example/hook": "'xn--a.example' is not an international host name",
    "https://www.XN--A.example/": "not an international host name",
    "https://xn--ls8h.example/": "not an international host name",  # an emoji
    "https://xn--a.b\u00fccher.example/": "not an international host name",
}


@pytest.mark.parametrize(("url", "message"), REFUSED.items())
def test_a_url_outside_the_policy_is_refused_with_the_rule(url: str, message: str) -> None:
    with pytest.raises(TargetForbidden) as caught:
        STRICT.check_url(url)

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("https://Example.COM", "https://example.com/"),
        ("HTTPS://example.com:443/a?b=c#frag", "https://example.com/a?b=c"),
        ("https://example.com./x", "https://example.com/x"),
        ("https://example.com:8443/x", "https://example.com:8443/x"),
        ("https://bücher.example/ü?q=ж", "https://xn--bcher-kva.example/%C3%BC?q=%D0%B6"),
        ("https://ПРИМЕР.рф/", "https://xn--e1afmkfd.xn--p1ai/"),
        ("https://my_service.example/", "https://my_service.example/"),
        ("https://example.com/%2e%2E/a%2Fb", "https://example.com/%2e%2E/a%2Fb"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2606:4700::1111]:443/", "https://[2606:4700::1111]/"),
        ("https://1.example/", "https://1.example/"),
        ("https://a.example/?sig=Ab%2FcD%3D", "https://a.example/?sig=Ab%2FcD%3D"),
        ("https://a.example/a/../b//c?", "https://a.example/a/../b//c?"),
        ('https://a.example/x?a[0]={"b"}|c^`<d>', 'https://a.example/x?a[0]={"b"}|c^`<d>'),
        ("https://a.example/%zz?x=%C3%BC+y&ü#z?#", "https://a.example/%zz?x=%C3%BC+y&%C3%BC"),
        ("https://a.example?x=1", "https://a.example/?x=1"),
        ("https://a.example#/x?y", "https://a.example/"),
        ("https://[2606:4700::1111]:8443?a=[1]@b:c", "https://[2606:4700::1111]:8443/?a=[1]@b:c"),
    ],
)
def test_a_url_is_given_back_in_canonical_form(url: str, canonical: str) -> None:
    target = STRICT.check_url(url)

    assert target.url == canonical
    assert STRICT.check_url(target.url) == target


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"https://a.example/{'ü' * 1000}", "6018 characters in ASCII, more than 2048"),
        (f"https://{'ü' * 2000}.example/", "the host has 2008 characters"),
    ],
)
def test_a_url_is_bounded_before_it_is_encoded_and_afterwards(url: str, message: str) -> None:
    with pytest.raises(TargetForbidden, match=message):
        STRICT.check_url(url)


def test_the_archives_own_ports_are_nobodys_target_on_this_machine() -> None:
    policy = TargetPolicy(
        schemes=frozenset({"http"}),
        ports=(range(1, 65536),),
        allowed_networks=parse_networks(["127.0.0.0/8", "::1", "0.0.0.0", "192.0.2.1"]),
        own_ports=frozenset({19092}),
    )

    for host in ("127.0.0.1", "127.8.8.8", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"):
        with pytest.raises(TargetForbidden, match="the archive itself listens"):
            policy.check_url(f"http://{host}:19092/hook")
        assert policy.check_url(f"http://{host}:19093/hook").port == 19093
    assert policy.check_url("http://192.0.2.1:19092/hook").port == 19092, "another machine"


INBOX = "http://127.0.0.1:8080/inbox/"
TOKEN = "t" * 43
BOXED = TargetPolicy(own_ports=frozenset({8080}), inbox=INBOX)


def test_the_receiver_in_the_box_is_a_target_whatever_else_is_allowed() -> None:
    target = BOXED.check_url(INBOX + TOKEN)

    assert target.is_inbox
    assert (target.scheme, target.host, target.port) == ("http", "127.0.0.1", 8080)
    assert target.url == INBOX + TOKEN
    BOXED.check_connection("127.0.0.1", parse_address("127.0.0.1"), 8080, to_inbox=True)


@pytest.mark.parametrize(
    "url",
    [
        INBOX,
        INBOX + TOKEN[:-1],
        INBOX + TOKEN + "t",
        INBOX + TOKEN + "/posts",
        INBOX + TOKEN + "?x=1",
        INBOX + TOKEN + "#x",
        INBOX + "../" + TOKEN[3:],
        INBOX + "%74" + TOKEN[1:],
        INBOX + TOKEN + "\n",
        f"http://127.0.0.1:8080/Inbox/{TOKEN}",
        f"http://127.0.0.1:8080/x/../inbox/{TOKEN}",
        f"http://127.0.0.1:8080//inbox/{TOKEN}",
        f"http://127.0.0.1:8080/images/{TOKEN}",
        f"http://127.0.0.1:8081/inbox/{TOKEN}",
        f"http://127.0.0.2:8080/inbox/{TOKEN}",
        f"http://localhost:8080/inbox/{TOKEN}",
        f"http://[::ffff:127.0.0.1]:8080/inbox/{TOKEN}",
        f"http://2130706433:8080/inbox/{TOKEN}",
        f"http://me@127.0.0.1:8080/inbox/{TOKEN}",
        f"HTTP://127.0.0.1:8080/inbox/{TOKEN}",
        f"https://127.0.0.1:8080/inbox/{TOKEN}",
    ],
)
def test_nothing_but_the_inbox_itself_is_excepted(url: str) -> None:
    open_wide = TargetPolicy(
        schemes=frozenset({"http", "https"}),
        ports=(range(1, 65536),),
        allowed_networks=parse_networks(["127.0.0.0/8", "::1"]),
        own_ports=frozenset({8080, 8081}),
        inbox=INBOX,
    )
    assert not open_wide.is_inbox(url)
    if "localhost" not in url:  # a name: what it leads to is checked when it is known
        with pytest.raises(TargetForbidden):
            open_wide.check_url(url)
    with pytest.raises(TargetForbidden, match="the archive itself listens"):
        open_wide.check_connection("localhost", parse_address("127.0.0.1"), 8080)


def test_without_the_box_and_where_the_operator_denies_it_there_is_no_exception() -> None:
    denying = replace(BOXED, denied_networks=parse_networks(["127.0.0.0/8"]))

    assert not replace(BOXED, inbox="").is_inbox(INBOX + TOKEN)
    with pytest.raises(TargetForbidden, match="the operator denies"):
        denying.check_url(INBOX + TOKEN)
    with pytest.raises(TargetForbidden, match="the operator denies"):
        denying.check_connection("127.0.0.1", parse_address("127.0.0.1"), 8080, to_inbox=True)


def test_only_the_standalone_mode_has_the_box_and_on_loopback_alone() -> None:
    alone = StandaloneSettings.model_construct()
    supervised = StandaloneSettings(home=Path("var"))

    assert inbox_prefix(IngressSettings(port=8080), supervised) == INBOX
    assert inbox_prefix(IngressSettings(host="::1", port=8080), supervised) == (
        "http://[::1]:8080/inbox/"
    )
    assert inbox_prefix(IngressSettings(port=8080), alone) == ""
    for host in ("0.0.0.0", "192.0.2.1", "localhost", "archive"):
        assert inbox_prefix(IngressSettings(host=host), supervised) == ""


def test_the_own_ports_are_those_of_the_settings() -> None:
    ingress, telemetry = IngressSettings(port=8080), TelemetrySettings(metrics_port=9100)
    kafka = KafkaSettings(bootstrap_servers="a:9092, [::1]:9094")
    database = DatabaseSettings(url=SecretStr("postgresql://me:s@db/photos"))
    alone = StandaloneSettings.model_construct(metrics_port=19101)
    supervised = StandaloneSettings(home=Path("var"), metrics_port=19101)

    ports = own_ports(ingress, kafka, database, telemetry, alone)

    assert ports == {8080, 9100, 9092, 9094, 5432}
    more = own_ports(ingress, kafka, database, telemetry, supervised)
    assert more == ports | {9093, 9095} | set(range(19101, 19133))


def test_the_ports_of_each_host_and_of_a_pooler_are_the_archives_own() -> None:
    database = DatabaseSettings(
        url=SecretStr("postgresql://me:s@one:5433,[::1]:5434,three/photos"),
        pooler_url=SecretStr("postgresql://me:s@pooler:6432/photos"),
    )

    ports = own_ports(
        IngressSettings(port=8080),
        KafkaSettings(bootstrap_servers="a:9092"),
        database,
        TelemetrySettings(metrics_port=9100),
        StandaloneSettings.model_construct(metrics_port=19101),
    )

    assert ports == {8080, 9100, 9092, 5433, 5434, 5432, 6432}


def test_the_target_names_its_parts() -> None:
    assert LOOSE.check_url("http://127.0.0.1:9000/hook") == Target(
        "http",
        "127.0.0.1",
        9000,
        "http://127.0.0.1:9000/hook",
        parse_networks(["127.0.0.1"])[0][0],
    )


def test_one_bad_address_among_good_ones_blocks_the_host() -> None:
    good, bad = parse_networks(["8.8.8.8", "fd00::1"])

    with pytest.raises(TargetForbidden, match=r"example\.com: fd00::1 .* unique local"):
        STRICT.check_resolved("example.com", (good[0], bad[0]))


def test_an_allowed_host_may_have_any_address_and_no_other_host_gains() -> None:
    private = parse_networks(["10.0.0.5"])[0][0]

    LOOSE.check_resolved("receiver", (private,))
    with pytest.raises(TargetForbidden):
        LOOSE.check_resolved("receiver.example", (private,))


def test_a_network_that_the_operator_denies_beats_every_permission() -> None:
    own = parse_networks(["127.0.0.1", "8.8.8.8"])
    policy = TargetPolicy(
        allowed_hosts=frozenset({"receiver"}),
        allowed_networks=parse_networks(["127.0.0.0/8"]),
        denied_networks=own,
    )

    for network in own:
        with pytest.raises(TargetForbidden, match="operator denies"):
            policy.check_resolved("receiver", (network[0],))


def test_settings_become_a_policy() -> None:
    settings = EgressSettings(
        allow_http=True,
        allowed_ports="443, 9000-9002",
        allowed_hosts="Receiver, 10.0.0.0/8, bücher.example, ::1",
        denied_hosts="10.1.2.0/24, 10.9.9.9",
    )

    policy = TargetPolicy.from_settings(settings)

    assert policy == TargetPolicy(
        schemes=frozenset({"http", "https"}),
        ports=(range(443, 444), range(9000, 9003)),
        allowed_hosts=frozenset({"receiver", "xn--bcher-kva.example"}),
        allowed_networks=parse_networks(["10.0.0.0/8", "::1"]),
        denied_networks=parse_networks(["10.1.2.0/24", "10.9.9.9"]),
    )
    assert policy.check_url("http://[::1]:9001/").host == "[::1]"
    for denied in ("10.1.2.3", "10.9.9.9"):
        with pytest.raises(TargetForbidden, match="the operator denies"):
            policy.check_url(f"http://{denied}:9001/")


@pytest.mark.parametrize(
    ("values", "variable"),
    [
        ({"allowed_ports": "443,x"}, "EGRESS_ALLOWED_PORTS: 'x'"),
        ({"allowed_ports": "0"}, "EGRESS_ALLOWED_PORTS: '0'"),
        ({"denied_hosts": "evil.example"}, "EGRESS_DENIED_HOSTS: 'evil.example'"),
        ({"allowed_ports": "70000"}, "EGRESS_ALLOWED_PORTS: '70000'"),
        ({"allowed_ports": "9-8"}, "EGRESS_ALLOWED_PORTS: '9-8'"),
        ({"allowed_hosts": "10.0.0.1/8"}, "EGRESS_ALLOWED_HOSTS: '10.0.0.1/8'"),
        ({"allowed_hosts": "https://x/"}, "EGRESS_ALLOWED_HOSTS"),
        ({"allowed_hosts": "127.1"}, "EGRESS_ALLOWED_HOSTS: '127.1'"),
    ],
)
def test_a_list_that_cannot_be_read_stops_with_its_variable(
    values: dict[str, str], variable: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TargetPolicy.from_settings(EgressSettings(**values))  # type: ignore[arg-type]  # strings

    assert variable in str(caught.value)


@pytest.mark.parametrize(
    ("name", "spellings"),
    [
        ("xn--bcher-kva.example", ["bücher.example", "BÜCHER.example.", "xn--bcher-kva.example"]),
        ("a.example", ["a.example", "A.EXAMPLE", "a.example.", "a\u3002example"]),
        ("2606:4700::1111", ["[2606:4700::1111]", "[2606:4700:0:0:0:0:0:1111]"]),
        ("8.8.8.8", ["8.8.8.8", "8.8.8.8."]),
    ],
)
def test_a_host_is_one_lane_in_all_its_spellings_and_operators_may_use_any(
    name: str, spellings: list[str]
) -> None:
    bracketed = f"[{name}]" if ":" in name else name
    lanes = {lane_of(f"HTTPS://{host}:8443/x") for host in spellings}
    assert lanes == {f"https://{bracketed}:8443"}
    assert {host_name(host) for host in [*spellings, name]} == {name}


def test_scheme_and_port_are_of_the_lane_and_path_and_user_are_not() -> None:
    same = {
        lane_of(url)
        for url in ("https://a.example", "https://a.example:443/x?y=1", "https://u:pw@a.example/#z")
    }
    others = {lane_of(url) for url in ("http://a.example/", "https://a.example:8443/")}

    assert same == {"https://a.example:443"}
    assert others == {"http://a.example:80", "https://a.example:8443"}


@pytest.mark.parametrize(
    ("url", "lane"),
    [
        ("https://xn--a.example/x", "https://xn--a.example"),
        ("https://u:pw@0x7f.1/x", "https://0x7f.1"),
        ("https://[::1/x", "https://[::1"),
        ("ftp://a.example/x", "ftp://a.example"),
        ("nonsense", "nonsense://"),
    ],
)
def test_a_callback_that_will_be_refused_still_has_a_lane(url: str, lane: str) -> None:
    assert lane_of(url) == lane


HOST_PIECES = st.lists(
    st.sampled_from(
        [
            *"aZ0179.-_@:/?#[]%xX\\é。１",
            "127.0.0.1",
            "::1",
            "xn--",
            "xn--a.",
            "xn--bcher-kva.",
            "xn--ls8h.",
            "%2e",
            "ff",
            "443",
            "evil.example",
        ]
    ),
    max_size=12,
).map("".join)


@given(HOST_PIECES)
def test_the_client_sees_the_same_host_and_port_as_the_policy(piece: str) -> None:
    try:
        target = LOOSE.check_url(f"https://{piece}")
    except TargetForbidden:
        return

    by_httpx, by_yarl = httpx.URL(target.url), yarl.URL(target.url)
    host = target.host.strip("[]")
    assert by_httpx.raw_host.decode().strip("[]") == by_yarl.raw_host == host
    assert by_httpx.host  # httpx decodes A-labels, so a broken one must be refused before
    assert (by_httpx.port or 443) == by_yarl.port == target.port
    assert by_httpx.userinfo == b""
    assert by_yarl.user is None


@given(st.text(max_size=80))
def test_any_text_is_a_target_or_a_refusal(text: str) -> None:
    for url in (text, f"https://{text}", f"https://example.com/{text}"):
        try:
            target = LOOSE.check_url(url)
        except TargetForbidden:
            continue
        assert target.url.isascii()
        assert LOOSE.check_url(target.url) == target
