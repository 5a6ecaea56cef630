"""What is said to a broker, compared with the protocol guide's bytes and the RFC's login."""

import pytest

from standalone.kafka.handshake import (
    Cluster,
    decode_cluster,
    decode_leading,
    decode_result,
    encode_quorum_question,
    encode_upsertion,
)
from standalone.kafka.logins import Login
from standalone.kafka.wire import AnswerFields, ScramExchange, encode_request

ANSWER = bytes.fromhex(
    "00000001"  # correlation
    "00000000"  # throttle time
    "00000001"  # one broker
    "00000001" + "0009" + b"127.0.0.1".hex() + "00004a94" + "ffff"  # id, host, port, no rack
    "0004" + b"abcd".hex() + "00000001" + "00000000"  # cluster id, controller, no topics
)
# RFC 7677, section 3.
NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = (
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
)
CLIENT_FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_a_request_has_length_key_version_and_the_name_of_the_client() -> None:
    client = b"photo-archive-standalone"
    body = bytes.fromhex("00030004000000010018") + client + bytes.fromhex("0000000000")
    assert encode_request(3, 4, bytes(5)) == len(body).to_bytes(4, "big") + body


def test_an_answer_gives_cluster_and_brokers() -> None:
    assert decode_cluster(AnswerFields(ANSWER)) == Cluster("abcd", ("127.0.0.1:19092",))


@pytest.mark.parametrize("length", range(4, len(ANSWER) - 8))
def test_an_answer_that_breaks_off_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="breaks off"):
        decode_cluster(AnswerFields(ANSWER[:length]))


def test_an_answer_to_another_request_is_refused() -> None:
    with pytest.raises(ValueError, match="another request"):
        AnswerFields(b"\x00\x00\x00\x02" + ANSWER[4:])


def test_the_login_is_that_of_the_rfc() -> None:
    exchange = ScramExchange(Login("user", "pencil"), NONCE)
    assert exchange.first() == b"n,,n=user,r=" + NONCE.encode()
    assert exchange.proof(SERVER_FIRST) == CLIENT_FINAL
    exchange.check(SERVER_FINAL)


@pytest.mark.parametrize("said", [b"v=", b"e=invalid-proof", b"v=" + b"A" * 43 + b"="])
def test_another_side_that_does_not_know_the_password_is_refused(said: bytes) -> None:
    exchange = ScramExchange(Login("user", "pencil"), NONCE)
    exchange.proof(SERVER_FIRST)
    with pytest.raises(ValueError, match="does not know the password"):
        exchange.check(said)


def test_an_answer_to_another_login_is_refused() -> None:
    with pytest.raises(ValueError, match="another login"):
        ScramExchange(Login("user", "pencil"), "other").proof(SERVER_FIRST)


@pytest.mark.parametrize(
    ("what", "instead"),
    [
        (b",i=4096", b",i=4294967295"),
        (b",i=4096", b",i=0"),
        (b",i=4096", b",i=many"),
        (b",i=4096", b""),
        (b",s=W22ZaJ0SNY7soEsUEjb6gQ==", b""),
        (b",s=W22ZaJ0SNY7soEsUEjb6gQ==", b",s=*"),
    ],
)
def test_an_answer_that_is_none_of_our_broker_is_refused_at_once(
    what: bytes, instead: bytes
) -> None:
    with pytest.raises(ValueError, match=r"our broker|invalid literal|[Pp]adding|base64"):
        ScramExchange(Login("user", "pencil"), NONCE).proof(SERVER_FIRST.replace(what, instead))


def test_a_password_is_set_without_being_sent() -> None:
    login = Login("photo-archive", "a-long-password")
    body = encode_upsertion(login)
    assert b"photo-archive" in body
    assert b"a-long-password" not in body
    # correlation, tags, throttle time, one result: name, code 0, no message, tags
    done = b"\0\0\0\1\0\0\0\0\0\2\x05user\0\0\0\0\0"
    assert decode_result(AnswerFields(done)) == 0
    assert decode_result(AnswerFields(done.replace(b"user\0\0", b"user\0\x25"))) == 0x25


def test_a_password_is_not_in_what_is_printed() -> None:
    assert "pencil" not in repr(Login("user", "pencil"))


def test_the_question_who_leads_is_about_the_one_partition_of_the_metadata() -> None:
    name = b"__cluster_metadata"
    wanted = "00" + "02" + f"{len(name) + 1:02x}" + name.hex() + "02" + "00000000" + "000000"
    assert encode_quorum_question() == bytes.fromhex(wanted)


@pytest.mark.parametrize(("code", "leads"), [("0000", True), ("0006", False)])
def test_only_the_leader_answers_it_without_an_error(code: str, *, leads: bool) -> None:
    name = b"__cluster_metadata"
    head = "00000001" + "00" + "0000" + "02" + f"{len(name) + 1:02x}" + name.hex()
    answer = bytes.fromhex(head + "02" + "00000000" + code + "00000001")
    assert decode_leading(AnswerFields(answer)) is leads
