"""Signed links are valid for exactly one path, until their expiry."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.webhooks.links import LinkRefused, check_link, sign_link

KEY, OTHER = b"k" * 32, b"o" * 32
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
LINK = sign_link("/images/1/content", expires_at=LATER, key=KEY)


def test_a_link_passes_until_its_time_has_come() -> None:
    check_link(LINK, keys=[KEY], now=NOW)
    check_link(LINK, keys=[OTHER, KEY], now=LATER - timedelta(seconds=1))

    with pytest.raises(LinkRefused) as caught:
        check_link(LINK, keys=[KEY], now=LATER)
    assert caught.value.reason == "link_expired"


@pytest.mark.parametrize(
    "link",
    [
        LINK.replace("/images/1/", "/images/2/"),
        LINK.replace("expires=1", "expires=2"),
        LINK.replace("expires=", "expires=0"),
        LINK.replace("expires=", "expires=%2B"),
        LINK[:-1],
        LINK + "A",
        LINK + "&expires=99999999999",
        LINK + "&signature=AAAA",
        LINK.partition("&")[0],
        LINK.partition("?")[0],
        LINK.replace("signature=", "signature=é"),
        "/images/1/content?expires=x&signature=y",
        "",
    ],
)
def test_an_altered_link_is_refused(link: str) -> None:
    with pytest.raises(LinkRefused) as caught:
        check_link(link, keys=[KEY], now=NOW)
    assert caught.value.reason == "link_refused"


def test_a_link_of_another_instance_is_refused() -> None:
    with pytest.raises(LinkRefused):
        check_link(LINK, keys=[OTHER], now=NOW)
    with pytest.raises(LinkRefused):
        check_link(LINK, keys=[], now=NOW)


@pytest.mark.parametrize("path", ["", "images/1", "/a?b=c", "/a#b"])
def test_only_an_absolute_path_can_be_signed(path: str) -> None:
    with pytest.raises(ValueError, match="absolute path"):
        sign_link(path, expires_at=LATER, key=KEY)


@given(st.text(max_size=80))
def test_no_text_is_an_error_other_than_a_refusal(text: str) -> None:
    for link in (text, f"/a?expires={text}&signature={text}"):
        with pytest.raises(LinkRefused):
            check_link(link, keys=[KEY], now=NOW)
