"""The page's modules in a browser without an archive: its answers are a test's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from zipfile import ZipFile

from playwright.sync_api import Browser, Page, Route, expect

from ingress.routes.documents import PAGES
from tests.e2e.page.browsing import PATIENCE_MS, Look
from tests.lit_html import lit_html_jar

#: Nothing listens there: the files come from the disk. On this machine, so that crypto is allowed.
ORIGIN = "http://127.0.0.1:9"
LIT = "META-INF/resources/webjars/lit-html/3.3.1/"
_SHELL = (
    '<!doctype html><title>modules</title><div id="app"><main id="main"></main>'
    '<div id="toasts"></div><div id="said"></div></div>'
)

_KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
#: `answers["GET /x"]` is the answer, or a function that gives it; `asked` is what was asked.
#: `stream` is the stream open last; `say` has it say something.
_FAKES = """
window.asked = [];
window.answers = {
  "GET /session": {
    owner: "me", key_id: "k1", token: "t1", scopes: ["read", "query", "upload", "admin"],
    instance: {version: "1", model: "m", labels: 1, scoring: "softmax", standalone: false},
  },
  "GET /labels": {labels: [{name: "cat", aliases: []}], version: 1, rescoring: {is_done: true}},
};
localStorage.setItem("session", "begun");
window.addressesOf = (path) => asked.filter((one) => one.address.split("?")[0] === path);
window.fetch = async (address, {method = "GET", headers = {}, body, signal} = {}) => {
  asked.push({method, address, headers, body: body && JSON.parse(body)});
  const given = answers[`${method} ${address.split("?")[0]}`];
  const value = await (typeof given === "function" ? given(address) : given);
  signal?.throwIfAborted();
  if (value instanceof ArrayBuffer) return new Response(value);
  const status = value === undefined ? 404 : value?.fails ?? 200;
  return new Response(JSON.stringify(value ?? {code: "not_found"}), {status});
};
window.held = () => {
  const one = {};
  one.promise = new Promise((resolve) => { one.release = resolve; });
  return one;
};
window.EventSource = class {
  static CLOSED = 2;
  constructor() {
    Object.assign(this, {readyState: 1, heard: {}});
    window.stream = this;
  }
  addEventListener(name, fn) { this.heard[name] = fn; }
  close() { this.readyState = 2; }
};
window.say = (name, data) => stream.heard[name]?.({data: JSON.stringify(data)});
"""


@contextmanager
def faked_page(browser: Browser, look: Look | None = None) -> Iterator[Page]:
    """Open an empty page beside the modules; end it with the block."""
    look = look or Look()
    context = browser.new_context(
        locale=look.language,
        viewport={"width": look.width, "height": look.height},
        color_scheme=look.theme,
        device_scale_factor=look.pixel_ratio,
    )
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    with ZipFile(lit_html_jar()) as jar:

        def answer(route: Route) -> None:
            path = route.request.url.removeprefix(f"{ORIGIN}/").partition("?")[0]
            inside = path.removeprefix("lit/")
            if not path:
                route.fulfill(body=_SHELL, content_type="text/html")
            elif inside != path:
                route.fulfill(body=jar.read(LIT + inside), content_type="text/javascript")
            elif (file := PAGES / "app" / path).is_file():
                route.fulfill(body=file.read_bytes(), content_type=_KINDS[file.suffix])
            else:
                route.fulfill(status=404)

        page = context.new_page()
        page.add_init_script(_FAKES)
        page.route(f"{ORIGIN}/**", answer)
        yield page
    context.close()


def call(page: Page, module: str, function: str, *arguments: Any) -> Any:
    """Return what a module's function returns."""
    return page.evaluate(
        f"async (given) => (await import('/{module}.js')).{function}(...given)", list(arguments)
    )


def give(page: Page, answers: dict[str, Any]) -> None:
    """Have the page be answered so."""
    page.evaluate("(given) => { Object.assign(answers, given); }", answers)


def signed_in(page: Page) -> None:
    """Begin a session, with words, on the empty page."""
    page.goto(f"{ORIGIN}/")
    page.evaluate("""async () => {
      const words = await import("/words.js");
      await words.loadLanguage();
      await words.loadWorkWords();
      await (await import("/api.js")).resume();
    }""")
