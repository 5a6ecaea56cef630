"""Whatever bytes come: 2xx, or a problem that names what was sent and the limit that it broke."""

import asyncio
import json
import re
import string
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from core.errors import ImageUnreadable
from core.vision.decoding.sniff import SniffedPicture
from ingress.auth.api_keys import Scope
from ingress.http.problems import BY_CODE
from ingress.reading.language import Meaning, TextReader
from tests.fakes.pictures import jpeg
from tests.integration.ingress.world import MakeWorld, SharedDatabase, World, opened_pool
from tests.unit.language.loaded import lemmatizer

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
MUTATIONS = ("cut", "double", "flip", "insert", "token", "truncate", "repeat")
#: What the problem of each limit has to say beside the value.
LIMITS = {
    "body_too_large": r"the limit is \d+",
    "image_too_large": r"the limit is \d+",
    "too_many_files": r"more than \d+ files",
    "unsupported_media_type": r"this takes |send the body as it is",
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


@dataclass
class Target:
    """A world that takes many requests; what one of them has written is gone before the next."""

    world: World
    database: SharedDatabase
    http: httpx.AsyncClient

    async def post(self, path: str, body: bytes, content_type: str) -> list[str]:
        """Send hostile bytes; tell what is wrong with the answer."""
        answer = await self.http.post(path, content=body, headers={"content-type": content_type})
        rows = await self.world.count("images", "queries")
        events = len(self.world.broker.records)
        if rows or events:
            await self.database.empty_of(self.world.pool, "images", "queries", "blobs", "outbox")
            self.world.broker.records.clear()
        return faults(answer, rows, events)

    async def explain(self, text: str) -> list[str]:
        """Have a text explained; tell what is wrong with the answer."""
        return faults(await self.http.get("/lemmas", params={"text": text}), 0, 0)


SCOPES = (Scope.UPLOAD, Scope.QUERY, Scope.PATHS, Scope.READ)
UNLIMITED = {"requests_per_second": 1e9}
SMALL = UNLIMITED | {"max_image_bytes": 8 * KIB, "max_files": 3, "max_json_bytes": 2 * KIB}
EXAMPLES = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
async def target(make_world: MakeWorld, shared_database: SharedDatabase) -> AsyncIterator[Target]:
    world = make_world(**SMALL)
    await world.know("cat", "beach", "Victory Day")
    async with world.client(*SCOPES) as http:
        yield Target(world, shared_database, http)


def faults(response: httpx.Response, rows: int, events: int) -> list[str]:
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
    if (rows == 0) != (events == 0) or events < rows:
        found.append(f"{rows} rows, {events} events")
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


@given(body=mutated(FILES))
@EXAMPLES
async def test_mutated_multipart_is_answered(target: Target, body: bytes) -> None:
    assert await target.post("/images/upload", body, "multipart/form-data; boundary=x") == []


@given(body=mutated(PICTURE))
@EXAMPLES
async def test_mutated_pictures_are_answered(target: Target, body: bytes) -> None:
    assert await target.post("/images/upload", body, "image/jpeg") == []


@given(body=mutated(QUERY))
@EXAMPLES
async def test_mutated_queries_are_answered(target: Target, body: bytes) -> None:
    assert await target.post("/images/tags", body, "application/json") == []


@given(text=texts())
@EXAMPLES
async def test_any_text_is_answered_as_a_query_and_explained(target: Target, text: str) -> None:
    body = {"text": text, "callback_url": "https://example.org/hook"}

    answer = await target.post("/images/tags", json.dumps(body).encode(), "application/json")

    assert answer == []
    assert await target.explain(text) == []


def reads_past_the_end(content: bytes) -> SniffedPicture:
    """A planted bug: believes the lengths that a JPEG gives of itself."""
    if not content.startswith(b"\xff\xd8"):
        raise ImageUnreadable(f"{len(content)} bytes are no picture", reason="not_an_image")
    at = 2
    while content[at + 1] not in {0xC0, 0xDA}:
        at += 2 + int(struct.unpack_from(">H", content, at + 2)[0])
    height, width = struct.unpack_from(">HH", content, at + 5)
    return SniffedPicture("image/jpeg", width, height)


def says_nothing(content: bytes) -> SniffedPicture:
    """A planted bug: refuses without a word."""
    if content != PICTURE:
        raise ImageUnreadable("", reason="not_an_image")
    return SniffedPicture("image/jpeg", 16, 16)


class NeedsAVowel(TextReader):
    """A planted bug: a word that has nothing of what was expected ends in an IndexError."""

    async def understand(self, text: str) -> Meaning:
        for token in lemmatizer().lemmatize(text):
            _ = [letter for letter in token.text if letter.isalpha()][0]  # noqa: RUF015
        return await super().understand(text)


@contextmanager
def hosted(
    shared: SharedDatabase, photos: Path, **planted: Any
) -> Iterator[Callable[[Callable[[Target], Coroutine[Any, Any, list[str]]]], list[str]]]:
    """A target with a planted bug, for a search that is no coroutine: in a loop of its own."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def opened() -> Target:
            pool = await stack.enter_async_context(opened_pool(shared.url))
            world = MakeWorld(pool, photos)(**SMALL, **planted)
            await world.know("cat", "beach", "Victory Day")
            return Target(world, shared, await stack.enter_async_context(world.client(*SCOPES)))

        target = runner.run(opened())
        try:
            yield lambda ask: runner.run(ask(target))
        finally:
            runner.run(target.database.empty(target.world.pool))
            runner.run(stack.aclose())


@pytest.mark.parametrize("probe", [reads_past_the_end, says_nothing])
@pytest.mark.parametrize(
    ("seed", "first", "kind"),
    [(PICTURE, PICTURE, "image/jpeg"), (FILES, FIRST_FILE, "multipart/form-data; boundary=x")],
)
def test_the_mutators_find_a_bug_that_is_planted_in_the_intake(
    shared_database: SharedDatabase,
    tmp_path: Path,
    probe: Any,
    seed: bytes,
    first: bytes,
    kind: str,
) -> None:
    with hosted(shared_database, tmp_path, probe=probe) as run:

        def answer(body: bytes) -> list[str]:
            return run(lambda target: target.post("/images/upload", body, kind))

        assert answer(first) == []

        found = find(mutated(seed), lambda body: answer(body) != [], settings=SEARCH)

        assert answer(found) != []


def test_the_mutators_find_a_bug_that_is_planted_in_the_words(
    shared_database: SharedDatabase, tmp_path: Path
) -> None:
    with hosted(shared_database, tmp_path, reader=NeedsAVowel) as run:

        def answer(text: str) -> list[str]:
            return run(lambda target: target.explain(text))

        assert [answer(sentence) for sentence in SENTENCES[:2]] == [[], []]

        found = find(texts(), lambda text: answer(text) != [], settings=SEARCH)

        assert answer(found)[0] == "status 500"


@given(content_type=st.text(alphabet=string.printable, max_size=60))
@EXAMPLES
async def test_any_content_type_is_answered(
    make_world: MakeWorld, shared_database: SharedDatabase, content_type: str
) -> None:
    world = make_world(**UNLIMITED)
    clean = content_type.replace("\r", "").replace("\n", "").strip()

    async with world.client(*SCOPES) as http:
        target = Target(world, shared_database, http)
        assert await target.post("/images/upload", FILES, clean) == []
