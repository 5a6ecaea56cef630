"""`/docs`, `/openapi.json`, `/asyncapi.json`: the documentation, which works offline."""

import json
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import FileResponse, HTMLResponse, Response

from core.errors import ConfigurationError
from ingress.dependencies import Dependencies
from ingress.documents import asyncapi, openapi
from ingress.http.problems import KINDS
from ingress.operations import Call, Handler, Operation, Reply

PAGES = Path(__file__).parent.parent / "pages"
#: Swagger UI styles its elements inline and draws its icons as data: images.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
_PAGE_HEADERS = {"Content-Security-Policy": PAGE_POLICY}
_FILE_HEADERS = {"Cache-Control": "public, max-age=3600"}
_HTML = "text/html"


def operations(described: Sequence[Operation], deps: Dependencies) -> tuple[Operation, ...]:
    """Return the operations that serve the documents about `described` and about themselves.

    Raises:
        ConfigurationError: the installed package with Swagger UI's files is not there.
    """
    swagger = _swagger_files()
    pages = Environment(loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined)
    problems = pages.get_template("problems.html").render(kinds=KINDS)
    served = (
        _page("/docs", "The API, readable", _html((PAGES / "docs.html").read_text(), "docs")),
        _page("/docs/problems", "All kinds of errors", _html(problems, "problems")),
        _file("/docs/docs.js", PAGES / "docs.js", "text/javascript"),
        _file("/docs/plain.css", PAGES / "plain.css", "text/css"),
        _file("/docs/swagger-ui.css", swagger / "swagger-ui.css", "text/css"),
        _file("/docs/swagger-ui-bundle.js", swagger / "swagger-ui-bundle.js", "text/javascript"),
    )
    events = partial(asyncapi.build, version=deps.version, bootstrap=deps.kafka_address)
    spec = partial(openapi.build, described, version=deps.version, server=deps.base_url)
    return (
        *served,
        _json("/openapi.json", "This API as OpenAPI 3.1", spec),
        _json("/asyncapi.json", "The topics as AsyncAPI 3.0", events),
    )


def _swagger_files() -> Path:
    # Not imported: the package imports web frameworks that are not installed.
    spec = find_spec("swagger_ui")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "the package swagger-ui-py is not installed: /docs needs its files"
        )
    return Path(spec.origin).parent / "static"


def _html(text: str, name: str) -> Handler:
    async def serve(call: Call) -> Response:
        del call
        return HTMLResponse(text, headers=_PAGE_HEADERS)

    serve.__name__ = name
    return serve


def _page(path: str, summary: str, handler: Handler) -> Operation:
    replies = (Reply(200, "A page.", media_type=_HTML),)
    return Operation("GET", path, handler, summary, "documents", replies, ignores_query=True)


def _file(path: str, file: Path, media_type: str) -> Operation:
    async def serve(call: Call) -> Response:
        del call
        return FileResponse(file, media_type=media_type, headers=_FILE_HEADERS)

    replies = (Reply(200, "A file.", media_type=media_type),)
    return Operation(
        "GET", path, serve, "File of the documents", "documents", replies, ignores_query=True
    )


def _json(path: str, summary: str, build: Callable[[], openapi.Document]) -> Operation:
    @cache  # built at the first request: starting needs no document
    def body() -> bytes:
        return json.dumps(build(), ensure_ascii=False).encode()

    async def serve(call: Call) -> Response:
        del call
        return Response(body(), media_type="application/json")

    replies = (Reply(200, "The document."),)
    return Operation("GET", path, serve, summary, "documents", replies, ignores_query=True)
