"""The HTTP application, built by one call from its dependencies."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp

from ingress.admitting import MethodSwitch
from ingress.dependencies import Dependencies
from ingress.http.errors import handlers
from ingress.middleware import Envelope
from ingress.operations import Operation
from ingress.routes import documents
from ingress.routes.delivery import endpoints, queries, query_list, redelivery, targets
from ingress.routes.labelling import labels, lemmas, previews
from ingress.routes.operating import dead_letters, health, jobs, statistics
from ingress.routes.page import (
    changes,
    choices,
    inboxes,
    live,
    saved_filters,
    sessions,
    shell,
    timeline,
)
from ingress.routes.photos import (
    curation,
    duplicates,
    explaining,
    image_list,
    images,
    tag,
    thumbs,
)

#: Beyond those that browsers let every page send and read (Fetch standard, "CORS-safelisted").
PAGES_MAY_SEND = (
    "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "traceparent", "X-API-Key",
    "X-Request-ID",
)  # fmt: skip
PAGES_MAY_READ = ("ETag", "Idempotency-Replayed", "Location", "Retry-After", "X-Request-ID")
#: What `/openapi.json` describes, in its order.
DESCRIBED: tuple[Operation, ...] = (
    *images.OPERATIONS,
    *thumbs.OPERATIONS,
    *curation.OPERATIONS,
    *duplicates.OPERATIONS,
    *image_list.OPERATIONS,
    *explaining.OPERATIONS,
    *changes.OPERATIONS,
    *choices.OPERATIONS,
    *saved_filters.OPERATIONS,
    *timeline.OPERATIONS,
    *queries.OPERATIONS,
    *query_list.OPERATIONS,
    *redelivery.OPERATIONS,
    *targets.OPERATIONS,
    *endpoints.OPERATIONS,
    *inboxes.OPERATIONS,
    *dead_letters.OPERATIONS,
    *tag.OPERATIONS,
    *jobs.OPERATIONS,
    *statistics.OPERATIONS,
    *live.OPERATIONS,
    *lemmas.OPERATIONS,
    *labels.OPERATIONS,
    *previews.OPERATIONS,
    *sessions.OPERATIONS,
    *health.OPERATIONS,
)


def create_app(deps: Dependencies) -> Starlette:
    """Return the application. It opens and closes nothing: the caller owns the dependencies.

    Raises:
        ConfigurationError: files that the documents need are not installed.
    """
    served = (*DESCRIBED, *documents.operations(DESCRIBED, deps), *shell.operations(deps))
    app = Starlette(
        routes=routes_of(_switches(served, deps)),
        exception_handlers=handlers(),
        middleware=[
            Middleware(
                Envelope, metrics=deps.metrics, is_tls=deps.settings.ssl_certfile is not None
            ),
            *_for_pages_elsewhere(deps.settings.origins()),
        ],
    )
    # Starlette would send `/images/` to `http://<Host>/images`, and a client chooses its Host.
    app.router.redirect_slashes = False
    return app


def _for_pages_elsewhere(origins: Sequence[str]) -> list[Middleware]:
    """Return what lets pages of other origins use the API: with their own key, never a cookie."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=PAGES_MAY_SEND,
            expose_headers=PAGES_MAY_READ,
        )
    ]


def routes_of(apps: Mapping[str, ASGIApp]) -> list[Route]:
    """Return a route for each path; the order of the paths does not matter.

    `{…_id}` in a path matches UUIDs, any other name matches a whole segment.
    """
    # Starlette takes the first path that matches, whatever the method: `/labels/{tag}` must not
    # stand before `/labels/preview`. And `/images/upload` is no image id: a GET gives 405, not 404.
    return [
        Route(path.replace("_id}", "_id:uuid}"), apps[path])
        for path in sorted(apps, key=_precedence)
    ]


def _precedence(path: str) -> tuple[int, ...]:
    """Return a key that sorts a fixed segment before an id, and an id before a name."""
    return tuple(
        0 if "{" not in segment else 1 if segment.endswith("_id}") else 2
        for segment in path.split("/")
    )


def _switches(operations: Sequence[Operation], deps: Dependencies) -> dict[str, ASGIApp]:
    by_path: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        by_path[operation.path].append(operation)
    return {path: MethodSwitch(group, deps) for path, group in by_path.items()}
