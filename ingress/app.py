"""The HTTP application, built by one call from its deps."""

from collections import defaultdict
from collections.abc import Sequence
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route, request_response
from starlette.types import Receive, Scope, Send

from ingress.dependencies import Dependencies
from ingress.http.errors import handlers
from ingress.middleware import Envelope
from ingress.operations import Operation, endpoint
from ingress.routes import (
    curation,
    dead_letters,
    documents,
    duplicates,
    endpoints,
    health,
    image_list,
    images,
    jobs,
    labels,
    lemmas,
    previews,
    queries,
    redelivery,
    statistics,
    tag,
)

#: What `/openapi.json` describes, in its order.
DESCRIBED: tuple[Operation, ...] = (
    *images.OPERATIONS,
    *curation.OPERATIONS,
    *duplicates.OPERATIONS,
    *image_list.OPERATIONS,
    *queries.OPERATIONS,
    *redelivery.OPERATIONS,
    *endpoints.OPERATIONS,
    *dead_letters.OPERATIONS,
    *tag.OPERATIONS,
    *jobs.OPERATIONS,
    *statistics.OPERATIONS,
    *lemmas.OPERATIONS,
    *labels.OPERATIONS,
    *previews.OPERATIONS,
    *health.OPERATIONS,
)


def create_app(deps: Dependencies) -> Starlette:
    """Return the application. It opens and closes nothing: the caller owns the deps.

    Raises:
        ConfigurationError: files that the documents need are not installed.
    """
    served = (*DESCRIBED, *documents.operations(DESCRIBED, deps))
    return Starlette(
        routes=_routes(served, deps),
        exception_handlers=handlers(),
        middleware=[
            Middleware(
                Envelope, metrics=deps.metrics, is_tls=deps.settings.ssl_certfile is not None
            )
        ],
    )


class _Methods:
    """The operations of one path, by method: so that a 405 names all of them."""

    def __init__(self, operations: Sequence[Operation], deps: Dependencies) -> None:
        self._apps = {one.method: request_response(endpoint(one, deps)) for one in operations}
        self._allow = ", ".join(sorted({*self._apps, *(["HEAD"] if "GET" in self._apps else [])}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        app = self._apps.get(method)
        if app is None:
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": self._allow})
        await app(scope, receive, send)


def _routes(operations: Sequence[Operation], deps: Dependencies) -> list[Route]:
    by_path: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        by_path[operation.path].append(operation)
    # With the convertor, `/images/upload` is no image: a GET of it is 405, not 404.
    return [
        Route(path.replace("_id}", "_id:uuid}"), _Methods(group, deps))
        for path, group in by_path.items()
    ]
