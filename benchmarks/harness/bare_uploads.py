"""A server that discards uploads: Starlette alone, with the ingress's server settings.

    python -m benchmarks.harness.bare_uploads PORT

It accepts the bodies that `POST /images/upload` accepts, raw or multipart (with Starlette's own
form parser), counts the bytes and answers 202.
"""

import asyncio
import sys

import uvloop
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from core.settings import IngressSettings
from ingress.dependencies import Readiness
from ingress.server import listen, make_server, stop_on_signals


async def upload(request: Request) -> JSONResponse:
    """Read the whole body and discard it."""
    if request.headers["content-type"].startswith("multipart/"):
        async with request.form() as form:
            files = [one for one in form.getlist("file") if isinstance(one, UploadFile)]
            size = sum([len(await one.read()) for one in files])
    else:
        size = sum([len(piece) async for piece in request.stream()])
    return JSONResponse({"images": [{"status": "accepted", "size_bytes": size}]}, 202)


async def ready(_: Request) -> PlainTextResponse:
    """Answer that the server is up."""
    return PlainTextResponse("ok\n")


async def serve(port: int) -> None:
    """Serve until a signal."""
    settings = IngressSettings(port=port)
    app = Starlette(
        routes=[Route("/images/upload", upload, methods=["POST"]), Route("/readyz", ready)]
    )
    server = make_server(app, settings, Readiness())
    stop_on_signals(server)
    with listen(settings) as listening:
        await server.serve(sockets=[listening])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
