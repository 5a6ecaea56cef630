"""Secrets at rest: sealed per owner, opened by any key of the instance, clear where it fails."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from core.errors import ConfigurationError
from core.settings import SecretSettings
from core.webhooks.signature import parse_secret
from core.webhooks.signing_secrets import SecretBox, make_key, make_secret

GOOD_KEY = base64.b64encode(bytes(32)).decode()  # always the same: part of the names of tests


def box(*keys: str) -> SecretBox:
    return SecretBox.from_settings(SecretSettings(key=SecretStr(",".join(keys))))


def test_a_new_secret_is_32_random_bytes() -> None:
    assert len(parse_secret(make_secret())) == 32
    assert len({make_secret() for _ in range(100)}) == 100


@given(secret=st.text(min_size=1), owner=st.text())
def test_a_sealed_secret_opens_for_its_owner(secret: str, owner: str) -> None:
    opener = SecretBox((b"k" * 32,))

    assert opener.open(opener.seal(secret, owner=owner), owner=owner) == secret


def test_a_sealed_secret_does_not_show_the_secret_and_never_repeats() -> None:
    opener, secret = box(make_key()), make_secret()

    sealed = {opener.seal(secret, owner="a") for _ in range(10)}

    assert len(sealed) == 10
    assert all(secret.removeprefix("whsec_") not in one for one in sealed)


def test_a_row_copied_to_another_owner_does_not_open() -> None:
    opener = box(make_key())

    with pytest.raises(ConfigurationError, match="another owner"):
        opener.open(opener.seal("whsec_x", owner="a"), owner="b")


def test_an_altered_row_does_not_open() -> None:
    opener = box(make_key())
    form, key_id, text = opener.seal("whsec_x", owner="a").split(".")
    content = bytearray(base64.urlsafe_b64decode(text))
    content[-1] ^= 1
    altered = f"{form}.{key_id}.{base64.urlsafe_b64encode(content).decode()}"

    with pytest.raises(ConfigurationError, match="altered"):
        opener.open(altered, owner="a")


@pytest.mark.parametrize("sealed", ["", "x", "v1.a", "v1.a.***", "v2.00000000.AAAA", "v1.a.é"])
def test_what_was_never_sealed_is_said_so(sealed: str) -> None:
    with pytest.raises(ConfigurationError, match="stored secret"):
        box(make_key()).open(sealed, owner="a")


def test_a_key_is_changed_by_putting_the_new_one_in_front() -> None:
    old, new = make_key(), make_key()
    sealed = box(old).seal("whsec_x", owner="a")
    both = box(new, old)

    assert both.open(sealed, owner="a") == "whsec_x"
    assert both.needs_sealing(sealed)
    again = both.seal(both.open(sealed, owner="a"), owner="a")
    assert not both.needs_sealing(again)
    assert box(new).open(again, owner="a") == "whsec_x"
    with pytest.raises(ConfigurationError, match=r"SECRETS_KEY: .* not among"):
        box(new).open(sealed, owner="a")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "SECRETS_KEY is not set"),
        ("***", "SECRETS_KEY: key 1 is not base64"),
        (base64.b64encode(b"short").decode(), "SECRETS_KEY: key 1 has 5 bytes, not 32"),
        (GOOD_KEY + ",", "SECRETS_KEY"),
        (GOOD_KEY + ",AAAA", "SECRETS_KEY: key 2 has 3 bytes"),
    ],
)
def test_a_key_that_cannot_be_used_stops_at_start(key: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        box(key)

    assert message in str(caught.value)


def test_keys_for_other_purposes_differ_from_each_other_and_from_the_key() -> None:
    key = make_key()
    links, cursors = box(key).derived_keys("links"), box(key).derived_keys("cursors")

    assert len({base64.b64decode(key), *links, *cursors}) == 3
    assert box(make_key(), key).derived_keys("links")[1] == links[0]
