"""The HTTP application, built by one call from its dependencies."""

from collections import defaultdict
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from ingress.dependencies import Dependencies
from ingress.http.errors import handlers
from ingress.middleware import Envelope
from ingress.operations import MethodSwitch, Operation
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
    """Return the application. It opens and closes nothing: the caller owns the dependencies.

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


def _routes(operations: Sequence[Operation], deps: Dependencies) -> list[Route]:
    by_path: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        by_path[operation.path].append(operation)
    # With this convertor `/images/upload` matches no image id: a GET of it gives 405, not 404.
    return [
        Route(path.replace("_id}", "_id:uuid}"), MethodSwitch(group, deps))
        for path, group in by_path.items()
    ]
