"""One file has one URI: names are bytes, encoded as text and decoded."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.blobs.naming import (
    RootedPath,
    decode_name,
    encode_name,
    is_safe,
    parse_file_uri,
    parse_image_path,
)
from core.errors import ImageMissing
from schemas.image import ImageArrived, image_id_of

names = st.binary(min_size=1, max_size=255).filter(is_safe)


@given(names)
def test_any_name_that_a_file_system_can_hold_comes_back_as_it_was(name: bytes) -> None:
    assert decode_name(encode_name(name)) == name


@given(names)
def test_a_written_name_is_utf_8_without_control_characters(name: bytes) -> None:
    text = encode_name(name)
    text.encode()
    assert not any(unicodedata.category(character) == "Cc" for character in text)


@given(names)
def test_the_uri_of_any_file_is_a_valid_arrival(name: bytes) -> None:
    place = RootedPath("main", name)
    assert parse_file_uri(ImageArrived(uri=place.uri).uri) == place


def test_cyrillic_and_spaces_stay_readable() -> None:
    assert RootedPath("main", "отпуск/у моря.jpg".encode()).uri == "file:main/отпуск/у моря.jpg"


def test_composed_and_decomposed_names_are_two_images() -> None:
    composed, decomposed = (
        RootedPath("main", unicodedata.normalize(form, "é.jpg").encode()) for form in ("NFC", "NFD")
    )
    assert composed.uri != decomposed.uri
    assert image_id_of(composed.uri) != image_id_of(decomposed.uri)


def test_bytes_that_are_not_utf_8_and_the_percent_sign_are_escaped() -> None:
    assert encode_name(b"caf\xe9 100%\n.jpg") == "caf%E9 100%25%0A.jpg"


@pytest.mark.parametrize("text", ["a%20b.jpg", "caf%e9.jpg", "100%.jpg", "a%2.jpg", "\udce9.jpg"])
def test_a_second_spelling_of_a_name_is_refused(text: str) -> None:
    with pytest.raises(ImageMissing) as refused:
        decode_name(text)
    assert refused.value.reason == "uri_not_canonical"


def test_the_refusal_says_both_things_that_may_have_been_meant() -> None:
    with pytest.raises(ImageMissing, match=r"'a b\.jpg'.*'a%2520b\.jpg'"):
        decode_name("a%20b.jpg")


@pytest.mark.parametrize(
    "text",
    ["", "/etc/passwd", "main//a.jpg", "main/./a.jpg", "main/../a.jpg", "main/a/..", "main/%00"],
)
def test_a_path_that_could_leave_the_root_is_refused(text: str) -> None:
    with pytest.raises(ImageMissing):
        parse_image_path(text)


def test_the_root_alone_is_a_place() -> None:
    assert parse_image_path("main") == parse_image_path("main/") == RootedPath("main", b"")
