"""States of the page's screens, staged by what the archive answers to the browser."""

from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import Route

from tests.e2e.page.browsing import Visit

#: What is asked of the archive itself, not the shell, its files and the session.
DATA = (
    "**/images**", "**/timeline**", "**/lemmas**", "**/duplicates**", "**/labels**",
    "**/queries**", "**/stats/**", "**/jobs**", "**/dead-letters**", "**/targets**",
    "**/inbox/**", "**/folders**", "**/cameras**", "**/filters**", "**/tags**", "**/events**",
)  # fmt: skip
OUTAGE = {
    "status": 503,
    "content_type": "application/problem+json",
    "headers": {"Retry-After": "60"},
    "body": '{"type": "about:blank", "title": "The database is away", "status": 503,'
    ' "code": "database_away", "detail": "no connection in 2 s", "request_id": "r-1"}',
}


@dataclass(frozen=True, slots=True)
class State:
    """What a screen is looked at in.

    Attributes:
        key: whose eyes: of `full` archive, of one that has nothing, of one that may not read.
        stage: what happens to the requests for data.
    """

    name: str
    key: str = "full"
    stage: Callable[[Visit], None] | None = None


def _data(visit: Visit, answer: Callable[[Route], None]) -> None:
    def serve(route: Route) -> None:
        if route.request.resource_type in {"fetch", "xhr", "eventsource"}:
            answer(route)
        else:
            route.continue_()

    for pattern in DATA:
        visit.context.route(pattern, serve)


def _fail(visit: Visit) -> None:
    _data(visit, lambda route: route.fulfill(**OUTAGE))  # type: ignore[arg-type]  # of one dict


def _hang(visit: Visit) -> None:
    _data(visit, lambda route: None)


FULL = State("full")
STATES = (
    FULL,
    State("empty", key="stranger"),
    State("no right", key="uploader"),
    State("error", stage=_fail),
    State("loading", stage=_hang),
)
