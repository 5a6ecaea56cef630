"""Whatever bytes come: 2xx, or a problem that names what was sent and the limit that it broke."""

import asyncio
import json
import re
import string
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import httpx
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from core.errors import ImageUnreadable
from core.language.lemmatizer import Lemmatizer
from core.relevance.matching import LabelIndex
from core.tags import Label
from ingress.accepting import shown_name
from ingress.app import create_app
from ingress.auth.api_keys import Scope
from ingress.http.problems import BY_CODE
from ingress.ports import Picture, Prober
from ingress.reading.ports import Meaning
from tests.examples import examples
from tests.fakes.ingress import World, make_world
from tests.fakes.insights import MemoryInsights
from tests.fakes.pictures import jpeg
from tests.unit.language.loaded import lemmatizer as loaded

KIB = 1024
PICTURE = jpeg(1, size=(16, 16))
HEAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
FILES = (
    HEAD + b"Content-Type: image/jpeg\r\n\r\n" + PICTURE + b"\r\n"
    + HEAD + b"\r\n" + PICTURE[:200] + b"\r\n--x--\r\n"
)  # fmt: skip
FIRST_FILE = HEAD + b"\r\n" + PICTURE + b"\r\n--x--\r\n"
QUERY = b'{"text": "cats", "callback_url": "https://example.org/hook", "top_n": 3}'
SENTENCES = (
    "We are looking for cats on the beach",
    "День Победы, ветераны и кошки",
    "e\u0301lan \u202e don't o'clock-ish 42 \U0001f408\u200d\U0001f98e",
)
TOKENS = (
    b"\r\n", b"--x", b"--x--", b"\0", b"\xff\xd9", b"\xff\xc0", b"\xff\xff", b'"', b"\\u", b"\xc3",
)  # fmt: skip
SMALL = {"max_image_bytes": 8 * KIB, "max_files": 3, "max_json_bytes": 2 * KIB}
MUTATIONS = ("cut", "double", "flip", "insert", "token", "truncate", "repeat")
#: What the problem of each limit has to say beside the value.
LIMITS = {
    "body_too_large": r"the limit is \d+",
    "image_too_large": r"the limit is \d+",
    "too_many_files": r"more than \d+ files",
    "unsupported_media_type": r"this takes ",
    "not_an_image": r"\d+ bytes",
    "callback_forbidden": r"^(callback_url|url) '",
}
SEARCH = settings(
    max_examples=5000, deadline=None, database=None, derandomize=True,
    phases=[Phase.generate], suppress_health_check=list(HealthCheck),
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, seed: bytes) -> bytes:
    """The seed cut short, with bytes cut out, doubled, flipped, or tokens put in."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        end = min(len(data), at + draw(st.integers(0, 40)))
        match draw(st.sampled_from(MUTATIONS)):
            case "cut":
                del data[at:end]
            case "double":
                data[at:at] = data[at:end]
            case "flip" if data:
                data[at] ^= draw(st.integers(1, 255))
            case "token":
                data[at:at] = draw(st.sampled_from(TOKENS))
            case "truncate":
                del data[at:]
            case "repeat":
                data[at:at] = data[at:end] * draw(st.integers(1, 200))
            case _:
                data[at:at] = draw(st.binary(max_size=20))
    return bytes(data)


def texts() -> st.SearchStrategy[str]:
    """Sentences of both languages, mutated as characters and as bytes; and anything at all."""
    by_bytes = st.sampled_from(SENTENCES).flatmap(lambda one: mutated(one.encode()))
    return by_bytes.map(lambda raw: raw.decode("utf-8", "replace")) | st.text(max_size=200)


async def post(world: World, path: str, body: bytes, content_type: str) -> httpx.Response:
    async with world.client(Scope.UPLOAD, Scope.QUERY, Scope.PATHS) as http:
        return await http.post(path, content=body, headers={"content-type": content_type})


def faults(world: World, response: httpx.Response) -> list[str]:
    """What is wrong with an answer to hostile input; nothing, if all is well."""
    found = []
    if response.status_code >= 500 or 300 <= response.status_code < 400:
        found.append(f"status {response.status_code}")
    if response.is_error:
        found += problem_faults(response)
    elif response.status_code == 202 and "images" in response.json():
        for entry in response.json()["images"]:
            error = entry["error"]
            if (entry["status"] == "rejected") != (error is not None):
                found.append(f"half an entry: {entry}")
            if error and not says_its_limit(error["code"], error["detail"]):
                found.append(f"an entry without its limit: {entry}")
    rows = len(world.images.rows) + len(world.queries.rows)
    if (rows == 0) != (len(world.broker.records) == 0) or len(world.broker.records) < rows:
        found.append(f"{rows} rows, {len(world.broker.records)} events")
    return found


def problem_faults(response: httpx.Response) -> list[str]:
    if response.headers["content-type"] != "application/problem+json":
        return [f"content type {response.headers['content-type']}"]
    document = response.json()
    kind = BY_CODE.get(document["code"])
    if kind is None or kind.status != response.status_code or kind.title != document["title"]:
        return [f"not in the catalogue: {document}"]
    if not says_its_limit(kind.code, document["detail"]):
        return [f"no value or limit in {document['detail']!r}"]
    if kind.code == "invalid_request" and not all(one["detail"] for one in document["errors"]):
        return [f"no field in {document}"]
    return []


def says_its_limit(code: str, detail: str) -> bool:
    return bool(detail.strip()) and re.search(LIMITS.get(code, "."), detail) is not None


def check(world: World, response: httpx.Response) -> None:
    assert faults(world, response) == [], response.text


@given(mutated(FILES))
@settings(max_examples=examples(30, 500), deadline=None)
async def test_mutated_multipart_is_answered(body: bytes) -> None:
    world = make_world(**SMALL)

    check(world, await post(world, "/images/upload", body, "multipart/form-data; boundary=x"))


@given(mutated(PICTURE))
@settings(max_examples=examples(30, 500), deadline=None)
async def test_mutated_pictures_are_answered(body: bytes) -> None:
    world = make_world(**SMALL)

    check(world, await post(world, "/images/upload", body, "image/jpeg"))


@given(mutated(QUERY))
@settings(max_examples=examples(30, 500), deadline=None)
async def test_mutated_queries_are_answered(body: bytes) -> None:
    world = make_world(**SMALL)

    check(world, await post(world, "/images/tags", body, "application/json"))


@given(texts())
@settings(max_examples=examples(30, 500), deadline=None)
async def test_any_text_is_answered_as_a_query_and_explained(text: str) -> None:
    world = with_parts(make_world(**SMALL), words=RealWords)
    body = {"text": text, "callback_url": "https://example.org/hook"}

    check(world, await post(world, "/images/tags", json.dumps(body).encode(), "application/json"))
    async with world.client(Scope.READ) as http:
        explained = await http.get("/lemmas", params={"text": text})
    assert faults(world, explained) == [], explained.text


def with_parts(
    world: World, *, words: type[MemoryInsights] = MemoryInsights, prober: Prober | None = None
) -> World:
    """The world with another understanding of texts, or of pictures."""
    guards = replace(world.parts.guards, prober=prober or world.parts.guards.prober)
    world.parts = replace(world.parts, guards=guards, insights=words(world.images.rows))
    world.app = create_app(world.parts)
    return world


@cache
def language() -> tuple[Lemmatizer, LabelIndex]:
    lemmatizer = loaded()
    labels = [Label("cat", ("кошка",)), Label("Victory Day", ("День Победы",)), Label("beach")]
    return lemmatizer, LabelIndex.build(labels, lemmatizer.lemmatize)


class RealWords(MemoryInsights):
    """Explains texts as the query consumer understands them."""

    async def understand(self, text: str) -> Meaning:
        lemmatizer, index = language()
        tokens = lemmatizer.lemmatize(text)
        return Meaning(tokens, index.match(tokens))


class ReadsPastTheEnd:
    """A planted bug: believes the lengths that a JPEG gives of itself."""

    def probe(self, content: bytes) -> Picture:
        if not content.startswith(b"\xff\xd8"):
            raise ImageUnreadable(f"{len(content)} bytes are no picture", reason="not_an_image")
        at = 2
        while content[at + 1] not in {0xC0, 0xDA}:
            at += 2 + int(struct.unpack_from(">H", content, at + 2)[0])
        height, width = struct.unpack_from(">HH", content, at + 5)
        return Picture("image/jpeg", width, height)


class SaysNothing:
    """A planted bug: refuses without a word."""

    def probe(self, content: bytes) -> Picture:
        if content != PICTURE:
            raise ImageUnreadable("", reason="not_an_image")
        return Picture("image/jpeg", 16, 16)


class NeedsAVowel(RealWords):
    """A planted bug: a word that has nothing of what was expected ends in an IndexError."""

    async def understand(self, text: str) -> Meaning:
        for token in language()[0].lemmatize(text):
            _ = [letter for letter in token.text if letter.isalpha()][0]  # noqa: RUF015
        return await super().understand(text)


def answer_to_picture(prober: Prober, body: bytes) -> list[str]:
    world = with_parts(make_world(**SMALL), prober=prober)
    return faults(world, asyncio.run(post(world, "/images/upload", body, "image/jpeg")))


def answer_to_files(prober: Prober, body: bytes) -> list[str]:
    world = with_parts(make_world(**SMALL), prober=prober)
    kind = "multipart/form-data; boundary=x"
    return faults(world, asyncio.run(post(world, "/images/upload", body, kind)))


def answer_to_text(text: str) -> list[str]:
    async def ask() -> list[str]:
        world = with_parts(make_world(**SMALL), words=NeedsAVowel)
        async with world.client(Scope.READ) as http:
            return faults(world, await http.get("/lemmas", params={"text": text}))

    return asyncio.run(ask())


@pytest.mark.parametrize("prober", [ReadsPastTheEnd(), SaysNothing()])
@pytest.mark.parametrize(
    ("seed", "answer"), [(PICTURE, answer_to_picture), (FILES, answer_to_files)]
)
def test_the_mutators_find_a_bug_that_is_planted_in_the_intake(
    prober: Prober, seed: bytes, answer: Callable[[Prober, bytes], list[str]]
) -> None:
    assert answer(prober, PICTURE if seed is PICTURE else FIRST_FILE) == []

    found = find(mutated(seed), lambda body: answer(prober, body) != [], settings=SEARCH)

    assert answer(prober, found) != []


def test_the_mutators_find_a_bug_that_is_planted_in_the_words() -> None:
    assert [answer_to_text(sentence) for sentence in SENTENCES[:2]] == [[], []]

    found = find(texts(), lambda text: answer_to_text(text) != [], settings=SEARCH)

    assert answer_to_text(found)[0] == "status 500"


@given(st.text(alphabet=string.printable, max_size=60))
@settings(max_examples=examples(30, 500), deadline=None)
async def test_any_content_type_is_answered(content_type: str) -> None:
    world = make_world()
    clean = content_type.replace("\r", "").replace("\n", "").strip()

    check(world, await post(world, "/images/upload", FILES, clean))


@given(st.text(max_size=400))
@settings(max_examples=examples(100, 2000), deadline=None)
def test_a_shown_name_is_one_short_line_of_encodable_text(filename: str) -> None:
    name = shown_name(filename)

    if name is not None:
        assert 0 < len(name) <= 255
        assert name == name.strip()
        assert not set(name) & set("/\\\x00\n\r\u202e\u2028")
        name.encode()
