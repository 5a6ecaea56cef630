"""Whatever bytes come: an answer below 500, and never half a promise."""

import string

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from ingress.api_keys import Scope
from ingress.intake import shown_name
from tests.fakes.ingress import World, make_world
from tests.fakes.pictures import jpeg

PICTURE = jpeg(1, size=(16, 16))
FILES = (
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
    b"Content-Type: image/jpeg\r\n\r\n" + PICTURE + b"\r\n--x--\r\n"
)
QUERY = b'{"text": "cats", "callback_url": "https://example.org/hook", "top_n": 3}'


@st.composite
def mutated(draw: st.DrawFn, seed: bytes) -> bytes:
    """The seed with bytes cut out, doubled, flipped or put in."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        end = min(len(data), at + draw(st.integers(0, 40)))
        kind = draw(st.sampled_from(["cut", "double", "flip", "insert"]))
        if kind == "cut":
            del data[at:end]
        elif kind == "double":
            data[at:at] = data[at:end]
        elif kind == "flip" and data:
            data[at] ^= draw(st.integers(1, 255))
        else:
            data[at:at] = draw(st.binary(max_size=20))
    return bytes(data)


async def post(world: World, path: str, body: bytes, content_type: str) -> httpx.Response:
    async with world.client(Scope.UPLOAD, Scope.QUERY, Scope.PATHS) as http:
        return await http.post(path, content=body, headers={"content-type": content_type})


def check(world: World, response: httpx.Response) -> None:
    assert response.status_code < 500, response.text
    if response.is_error:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["code"] not in {"internal_error", ""}
    # Every event has its row, and every row its event.
    assert len(world.broker.records) >= len(world.images.rows) + len(world.queries.rows)


@given(mutated(FILES))
@settings(max_examples=100, deadline=None)
async def test_mutated_multipart_is_answered(body: bytes) -> None:
    world = make_world()

    check(world, await post(world, "/images/upload", body, "multipart/form-data; boundary=x"))


@given(mutated(PICTURE))
@settings(max_examples=100, deadline=None)
async def test_mutated_pictures_are_answered(body: bytes) -> None:
    world = make_world()

    check(world, await post(world, "/images/upload", body, "image/jpeg"))


@given(mutated(QUERY))
@settings(max_examples=100, deadline=None)
async def test_mutated_queries_are_answered(body: bytes) -> None:
    world = make_world()

    check(world, await post(world, "/images/tags", body, "application/json"))


@given(st.text(alphabet=string.printable, max_size=60))
@settings(max_examples=100, deadline=None)
async def test_any_content_type_is_answered(content_type: str) -> None:
    world = make_world()
    clean = content_type.replace("\r", "").replace("\n", "").strip()

    check(world, await post(world, "/images/upload", FILES, clean))


@given(st.text(max_size=400))
@settings(max_examples=300, deadline=None)
def test_a_shown_name_is_one_short_line_of_encodable_text(filename: str) -> None:
    name = shown_name(filename)

    if name is not None:
        assert 0 < len(name) <= 255
        assert name == name.strip()
        assert not set(name) & set("/\\\x00\n\r\u202e\u2028")
        name.encode()
