"""File names that clients choose."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ingress.accepting import shown_name


@given(st.text(max_size=400))
@settings(max_examples=300, deadline=None)
def test_a_shown_name_is_one_short_line_of_encodable_text(filename: str) -> None:
    name = shown_name(filename)

    if name is not None:
        assert 0 < len(name) <= 255
        assert name == name.strip()
        assert not set(name) & set("/\\\x00\n\r\u202e\u2028")
        name.encode()
