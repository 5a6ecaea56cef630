"""`GET /folders`, `GET /cameras`: what a form for filters offers."""

from starlette.responses import Response

from core.storage.archive import statistics
from core.storage.finding import folders
from ingress.auth.api_keys import Scope
from ingress.http.parameters import text_of
from ingress.models.page.filters import MAX_PATH_CHARS, ShownCameras, ShownFolder, ShownFolders
from ingress.models.statistics import ShownCamera
from ingress.operations import Call, Operation, Parameter, Reply, json_response

MOST_CAMERAS = 1_000
MOST_COUNTED = 1_000


async def list_folders(call: Call) -> Response:
    """Return the folders right under one, or the topmost ones."""
    under = (text_of(call, "under", most=MAX_PATH_CHARS, least=0) or "").rstrip("/")
    async with call.deps.pool.connection() as connection:
        found = await folders.below(connection, under, owner=call.own_only, most=MOST_COUNTED)
    return json_response(ShownFolders(folders=tuple(map(ShownFolder.of, found))))


async def list_cameras(call: Call) -> Response:
    """Return the cameras, the commonest first."""
    found = await statistics.cameras(call.deps.pool, MOST_CAMERAS, owner=call.own_only)
    return json_response(
        ShownCameras(
            cameras=tuple(
                ShownCamera(camera=camera, images=images) for camera, images in found.items()
            )
        )
    )


OPERATIONS = (
    Operation(
        "GET",
        "/folders",
        list_folders,
        "Folders with images",
        "images",
        (Reply(200, "Right under `under`, by name.", ShownFolders),),
        scope=Scope.READ,
        parameters=(
            Parameter("under", "query", "The folder above them; absent: the topmost ones."),
        ),
        problems=("invalid_request",),
    ),
    Operation(
        "GET",
        "/cameras",
        list_cameras,
        "Cameras of the images",
        "images",
        (Reply(200, "The commonest first.", ShownCameras),),
        scope=Scope.READ,
        problems=("invalid_request",),
    ),
)
