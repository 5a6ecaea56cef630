"""The page's document and files: where they are, how they are kept, what is refused."""

import gzip
import re
from pathlib import Path

import httpx
import pytest

from ingress.reading.statics import LIT_HTML_SHA256, read_page
from ingress.routes.documents import PAGES
from ingress.routes.page.shell import SHELL_POLICY
from tests.integration.ingress.problems import problem_in
from tests.integration.ingress.world import MakeWorld, World
from tests.lit_html import lit_html_jar


@pytest.fixture(name="page")
def _page(make_world: MakeWorld) -> World:
    """A world that has lit-html."""
    return make_world(lit_html=lit_html_jar())


async def get(world: World, path: str, **headers: str) -> httpx.Response:
    async with world.client() as http:
        return await http.get(path, headers={"Accept-Encoding": "identity", **headers})


def root_of(shell: httpx.Response) -> str:
    found = re.search(r'src="(/page/[0-9a-f]{16})/main\.js"', shell.text)
    assert found is not None
    return found[1]


async def test_the_shell_is_public_and_looked_at_again_each_time(page: World) -> None:
    shell = await get(page, "/")

    assert shell.status_code == 200
    assert shell.headers["content-type"] == "text/html; charset=utf-8"
    assert shell.headers["cache-control"] == "public, no-cache"
    assert shell.headers["content-security-policy"] == SHELL_POLICY
    assert "set-cookie" not in shell.headers
    assert "<script>" not in shell.text
    assert "style=" not in shell.text
    again = await get(page, "/", **{"If-None-Match": shell.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""


async def test_the_policy_lets_nothing_in_from_elsewhere_nor_any_text_become_script(
    page: World,
) -> None:
    headers = (await get(page, "/")).headers

    policy = {
        part.strip().partition(" ")[0]: part.strip().partition(" ")[2]
        for part in headers["content-security-policy"].split(";")
    }
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "lit-html",
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]


async def test_the_files_of_the_page_may_be_kept_for_ever(page: World) -> None:
    root = root_of(await get(page, "/"))

    for name, media_type in (
        ("main.js", "text/javascript; charset=utf-8"),
        ("page.css", "text/css; charset=utf-8"),
        ("lit/lit-html.js", "text/javascript; charset=utf-8"),
        ("lit/directives/repeat.js", "text/javascript; charset=utf-8"),
        ("lit/LICENSE", "text/plain; charset=utf-8"),
    ):
        file = await get(page, f"{root}/{name}")
        assert file.status_code == 200, name
        assert file.headers["content-type"] == media_type
        assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
        again = await get(page, f"{root}/{name}", **{"If-None-Match": file.headers["etag"]})
        assert again.status_code == 304
        assert again.headers["cache-control"] == "public, max-age=31536000, immutable"


async def test_all_that_a_file_of_the_page_imports_is_served(page: World) -> None:
    root = root_of(await get(page, "/"))
    seen: set[str] = set()
    waiting = [f"{root}/main.js"]
    async with page.client() as http:
        while waiting:
            name = waiting.pop()
            file = await http.get(name)
            assert file.status_code == 200, name
            seen.add(name)
            for other in re.findall(r"""(?:from|import)\s*\(?\s*["'](\.[^"']+)["']""", file.text):
                address = str(httpx.URL(f"http://archive{name}").join(other).path)
                if address not in seen:
                    waiting.append(address)

    assert f"{root}/lit/lit-html.js" in seen


@pytest.mark.parametrize(
    ("accepted", "is_packed"),
    [
        ("gzip, deflate, br", True),
        ("br;q=1.0, gzip;q=0.8", True),
        ("*", True),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("xgzip", False),
    ],
)
async def test_who_takes_gzip_gets_it(page: World, accepted: str, is_packed: bool) -> None:  # noqa: FBT001
    root = root_of(await get(page, "/"))
    plain = await get(page, f"{root}/lit/lit-html.js")

    async with page.client() as http:
        path = f"{root}/lit/lit-html.js"
        async with http.stream("GET", path, headers={"Accept-Encoding": accepted}) as answer:
            sent = b"".join([piece async for piece in answer.aiter_raw()])

    assert (answer.headers.get("content-encoding") == "gzip") is is_packed
    assert (gzip.decompress(sent) if is_packed else sent) == plain.content
    assert answer.headers["vary"] == "Accept-Encoding"
    assert (answer.headers["etag"] != plain.headers["etag"]) is is_packed
    assert (len(sent) < len(plain.content)) is is_packed


@pytest.mark.parametrize(
    "path",
    [
        "{root}/index.html",
        "{root}/never-was.js",
        "{root}/",
        "{root}/%2e%2e/%2e%2e/%2e%2e/app.py",
        "{root}/..%2fmissing.html",
        "{root}//etc/passwd",
        "{root}/lit/%2e%2e/main.js",
        "{root}/lit/development/lit-html.js",
        "{root}/lit/node/lit-html.js",
        "{root}/lit/package.json",
        "/page/0000000000000000/main.js",
        "/page/main.js",
    ],
)
async def test_nothing_else_is_served(page: World, path: str) -> None:
    root = root_of(await get(page, "/"))

    answer = await get(page, path.format(root=root))

    assert answer.headers["cache-control"] == "no-store"
    problem_in(answer, "not_found")


def test_any_change_of_a_file_changes_the_addresses_of_all(tmp_path: Path) -> None:
    def digest_with(name: str, text: str) -> str:
        folder = tmp_path / f"{name}-{len(text)}"
        folder.mkdir()
        for one in (PAGES / "app").iterdir():
            (folder / one.name).write_bytes(one.read_bytes())
        (folder / name).write_text(text)
        return read_page(folder, None).digest

    plain = read_page(PAGES / "app", None).digest
    others = {
        digest_with("main.js", "// other"),
        digest_with("index.html", "<p>other</p>"),
        digest_with("page.css", "p { margin: 0 }"),
        digest_with("new.js", ""),
        read_page(PAGES / "app", lit_html_jar()).digest,
    }

    assert len({plain, *others}) == 6
    assert plain == read_page(PAGES / "app", None).digest


async def test_without_lit_html_the_page_says_how_to_get_it_and_runs_no_script(
    world: World,
) -> None:
    page = await get(world, "/")

    assert page.status_code == 200
    assert "INGRESS_LIT_HTML is not set" in page.text
    assert "make page" in page.text
    assert "<script" not in page.text
    assert "script-src" not in page.headers["content-security-policy"]
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {"/docs", "/openapi.json", "/asyncapi.json", "/docs/problems", "/health"} <= set(links)
    for link in links:
        assert (await get(world, link)).status_code == 200


async def test_another_file_in_place_of_lit_html_is_not_served(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    wrong = tmp_path / "lit-html-3.3.1.jar"
    wrong.write_bytes(lit_html_jar().read_bytes() + b"\0")
    world = make_world(lit_html=wrong)

    page = await get(world, "/")

    assert "SHA-256 of lit-html-3.3.1.jar" in page.text
    assert LIT_HTML_SHA256 in page.text
    assert "<script" not in page.text
    digest = read_page(PAGES / "app", wrong).digest
    problem_in(await get(world, f"/page/{digest}/lit/lit-html.js"), "not_found")


async def test_a_missing_file_is_named_without_its_folder(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    world = make_world(lit_html=tmp_path / "secret-place" / "lit.jar")

    page = await get(world, "/")

    assert "lit.jar cannot be read" in page.text
    assert "secret-place" not in page.text
