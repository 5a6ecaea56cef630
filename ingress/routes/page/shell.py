"""`/` and `/page/…`: the page's document, its modules, its styles and lit-html."""

import structlog
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from ingress.dependencies import Dependencies
from ingress.http.problems import Problem
from ingress.operations import Call, Handler, Operation, Reply
from ingress.reading.statics import LIT_HTML, PageFiles, StaticFile, read_page
from ingress.routes.documents import PAGES

log = structlog.get_logger(__name__)

#: No file and no request leads elsewhere; text reaches the document through lit-html's policy only.
SHELL_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types lit-html"
)
#: Of the document that says what is missing: it has no script.
PLAIN_POLICY = (
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
_FOREVER = "public, max-age=31536000, immutable"  # the address has a digest of the bytes
_LOOK_AGAIN = "public, no-cache"  # it names the digest of today


def operations(deps: Dependencies) -> tuple[Operation, ...]:
    """Return the operations that serve the page; its files are read here."""
    page = read_page(PAGES / "app", deps.settings.lit_html)
    if page.lacking:
        log.error("page_unavailable", error=page.lacking)
    return (
        Operation(
            "GET",
            "/",
            _serve_plain(page, deps) if page.lacking else _serve_shell(page),
            "The page",
            "documents",
            (Reply(200, "A page.", media_type="text/html"),),
            ignores_query=True,
        ),
        Operation(
            "GET",
            "/page/{digest}/{file:path}",
            _serve_file(page),
            "File of the page",
            "documents",
            (Reply(200, "A file."), Reply(304, "The client has it already.")),
            ignores_query=True,
        ),
    )


def _serve_shell(page: PageFiles) -> Handler:
    async def shell(call: Call) -> Response:
        return _send(call, page.shell, _LOOK_AGAIN, {"Content-Security-Policy": SHELL_POLICY})

    return shell


def _serve_plain(page: PageFiles, deps: Dependencies) -> Handler:
    pages = Environment(loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined)
    text = pages.get_template("missing.html").render(
        lacking=page.lacking, library=LIT_HTML, model=deps.model, version=deps.version
    )
    document = StaticFile.of(text.encode(), page.shell.media_type)

    async def plain(call: Call) -> Response:
        return _send(call, document, _LOOK_AGAIN, {"Content-Security-Policy": PLAIN_POLICY})

    return plain


def _serve_file(page: PageFiles) -> Handler:
    async def file(call: Call) -> Response:
        wanted = call.request.path_params
        found = page.files.get(wanted["file"]) if wanted["digest"] == page.digest else None
        if found is None:
            raise Problem("not_found", "no such file of the page that is served now")
        return _send(call, found, _FOREVER, {})

    return file


def _send(call: Call, file: StaticFile, caching: str, headers: dict[str, str]) -> Response:
    asked = call.request.headers
    is_packed = _takes_gzip(asked.get("accept-encoding", ""))
    etag = f'"{file.tag}-gzip"' if is_packed else f'"{file.tag}"'
    headers = {**headers, "Cache-Control": caching, "ETag": etag, "Vary": "Accept-Encoding"}
    if etag in asked.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if is_packed:
        headers["Content-Encoding"] = "gzip"
    content = file.compressed if is_packed else file.plain
    return Response(content, media_type=file.media_type, headers=headers)


def _takes_gzip(accepted: str) -> bool:
    """Return whether a client takes gzip (RFC 9110, 12.5.3)."""
    for part in accepted.lower().split(","):
        name, _, parameters = part.partition(";")
        if name.strip() in {"gzip", "*"}:
            weight = parameters.replace(" ", "").removeprefix("q=")
            return weight.strip("0.") != "" or not parameters.strip()
    return False
