"""Multipart bodies as clients write them: names of files, and words before the first boundary."""

from collections.abc import AsyncIterator

import pytest

from ingress.http.multipart import MAX_PREAMBLE_BYTES, filename_of, read_files
from ingress.http.problems import Problem

PART = (
    b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.jpg" \t \r\n'
    b"Content-Type: image/jpeg \r\n\r\nabc\r\n--XX--\r\nwords behind it"
)


async def files_in(body: bytes, size: int) -> list[tuple[str, bytes | None]]:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    kind = "multipart/form-data; boundary=XX"
    read = read_files(pieces(), kind, max_file_bytes=100, max_files=5)
    return [(file.filename, file.content) async for file in read]


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize(
    "preamble",
    [
        b"",
        b"\r\n",
        b"This is a multi-part message in MIME format.\r\n",
        b"--X is no boundary\r\n--XY neither --XX\r\n".replace(b"--XY", b"- -XX"),
        b"x" * (MAX_PREAMBLE_BYTES - 2) + b"\r\n",
    ],
)
async def test_words_before_the_first_boundary_belong_to_no_file(
    preamble: bytes, size: int
) -> None:
    assert await files_in(preamble + PART, size) == [("a.jpg", b"abc")]


@pytest.mark.parametrize("size", [7, 10_000])
@pytest.mark.parametrize(
    "body", [b"x" * (MAX_PREAMBLE_BYTES + 1) + b"\r\n" + PART, b"no boundary at all", b""]
)
async def test_a_body_without_a_boundary_near_its_beginning_is_refused(
    body: bytes, size: int
) -> None:
    with pytest.raises(Problem) as caught:
        await files_in(body, size)

    assert caught.value.kind.code == "malformed_multipart"


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        (b'filename="a.jpg"', "a.jpg"),
        (b"filename=a.jpg  \t", "a.jpg"),
        ('filename="кот.jpg"'.encode(), "кот.jpg"),
        (b"filename*=UTF-8''na%C3%AFve.jpg", "naïve.jpg"),
        (b"filename*=utf-8'en'%D0%BA%D0%BE%D1%82.jpg", "кот.jpg"),
        (b"filename=\"kot.jpg\"; filename*=UTF-8''%D0%BA%D0%BE%D1%82.jpg", "кот.jpg"),
        (b"filename*=UTF-8''%D0%BA%D0%BE%D1%82.jpg; filename=\"kot.jpg\"", "кот.jpg"),
        (b"filename*=iso-8859-1''na%EFve.jpg", "naïve.jpg"),
        (b"filename*=what-ever''x.jpg; filename=\"kot.jpg\"", "kot.jpg"),
        (b'filename="na%C3%AFve%20one.jpg"', "naïve one.jpg"),
        (b'filename="a%22b.jpg"', 'a"b.jpg'),
        (b'filename="50%41.jpg"', "50%41.jpg"),
        (b'filename="100%25.jpg"', "100%.jpg"),
        (b'filename="%D0%BA%D0%BE%D1%82%201.jpg"', "кот 1.jpg"),
        (b'filename="50%20off of %22all%22.jpg"', '50%20off of "all".jpg'),
        ('filename="кот%20%22два%22.jpg"'.encode(), 'кот%20"два".jpg'),
        (b'filename="a%0D%0Ab%22%FF.jpg"', 'a\r\nb"%FF.jpg'),
        (b'filename="a%2Eb.jpg"', "a%2Eb.jpg"),
        (b'filename="100%.jpg"', "100%.jpg"),
        (b'filename="20%25 off, 5% more.jpg"', "20%25 off, 5% more.jpg"),
        (b'filename="%FF.jpg"', "%FF.jpg"),
        (b"", ""),
    ],
)
def test_a_file_has_the_name_that_its_sender_meant(parameters: bytes, name: str) -> None:
    assert filename_of(b'form-data; name="file"; ' + parameters) == name


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (
            b'Content-Disposition: form-data; name="file"; filename="' + b"x" * 5000 + b'"',
            "4096 bytes",
        ),
        (b"\r\n".join(b"X-%d: y" % number for number in range(9)), "8 header lines"),
    ],
)
async def test_a_part_that_says_too_much_is_refused_by_its_number_and_the_limit(
    head: bytes, told: str
) -> None:
    first = PART.removesuffix(b"--XX--\r\nwords behind it")

    with pytest.raises(Problem) as caught:
        await files_in(first + b"--XX\r\n" + head + b"\r\n\r\nabc\r\n--XX--\r\n", 10_000)

    assert caught.value.kind.code == "malformed_multipart"
    assert "part 2" in caught.value.detail
    assert told in caught.value.detail
