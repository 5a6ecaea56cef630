"""The Metadata request, compared with bytes derived from the protocol guide."""

import pytest

from standalone.kafka.handshake import Cluster, decode_answer, encode_request

ANSWER = bytes.fromhex(
    "00000001"  # correlation
    "00000000"  # throttle time
    "00000001"  # one broker
    "00000001" + "0009" + b"127.0.0.1".hex() + "00004a94" + "ffff"  # id, host, port, no rack
    "0004" + b"abcd".hex() + "00000001" + "00000000"  # cluster id, controller, no topics
)


def test_the_request_asks_version_4_for_no_topics_and_creates_none() -> None:
    client = b"photo-archive-standalone"
    body = bytes.fromhex("00030004000000010018") + client + bytes.fromhex("0000000000")
    assert encode_request() == len(body).to_bytes(4, "big") + body


def test_an_answer_gives_cluster_and_brokers() -> None:
    assert decode_answer(ANSWER) == Cluster("abcd", ("127.0.0.1:19092",))


@pytest.mark.parametrize("length", range(len(ANSWER) - 8))
def test_an_answer_that_breaks_off_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="breaks off"):
        decode_answer(ANSWER[:length])


def test_an_answer_to_another_request_is_refused() -> None:
    with pytest.raises(ValueError, match="another request"):
        decode_answer(b"\x00\x00\x00\x02" + ANSWER[4:])
