"""The status of an answer in its first bytes, and URLs that are written as they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.egress.answering import exact_url, status_of

FOUND = {
    b"HTTP/1.1 204 No Content\r\n": 204,
    b"HTTP/1.0 200\r\n": 200,
    b"HTTP/1.1 200 \n": 200,
    b"HTTP/1.1 599 \xff\xfe\r\nrubbish": 599,
    b"HTTP/1.1 101 Switching Protocols\r\n": 101,
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n": 200,
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 \r\n\r\nHTTP/1.1 410 Gone\r\n": 410,
}
NONE = [
    b"",
    b"HTTP/1.1 20",
    b"HTTP/1.1 200 OK",  # the line is not at its end
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\nHTTP/1.1 200 OK\r\n",  # within the interim answer's headers
    b"HTTP/1.1 099 No\r\n",
    b"HTTP/2 200\r\n",
    b"ICY 200 OK\r\n",
    b" HTTP/1.1 200 OK\r\n",
    b"<html>HTTP/1.1 200 OK\r\n",
]


@pytest.mark.parametrize(("head", "status"), FOUND.items())
def test_a_status_counts_once_its_line_is_there(head: bytes, status: int) -> None:
    assert status_of(head)[0] == status


@pytest.mark.parametrize("head", NONE)
def test_what_is_no_status_line_is_none(head: bytes) -> None:
    assert status_of(head)[0] is None


@given(st.sampled_from(sorted(FOUND)), st.data())
def test_a_status_is_the_same_however_its_bytes_arrive(head: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(head)), max_size=5)))
    status, left = None, b""
    for start, end in zip([0, *cuts], [*cuts, len(head)], strict=True):
        if status is None:
            status, left = status_of(left + head[start:end])

    assert status == FOUND[head]


@pytest.mark.parametrize(
    "rest",
    ["/", '/a%2Fb/../c%2e?sig=Ab%2FcD%3D&x=%zz&y=a+b&[z]={}|^`<>"', "/x?", "/x??a", "/%ff%FF;p=1"],
)
def test_a_url_is_written_as_it_is(rest: str) -> None:
    url = exact_url(f"https://example.com:8443{rest}")

    assert url.raw_path_qs == rest
    assert str(url) == f"https://example.com:8443{rest}"
    assert (url.host, url.port) == ("example.com", 8443)
