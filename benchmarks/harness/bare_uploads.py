"""What an upload costs where nothing is kept: the same server settings, Starlette alone.

    python -m benchmarks.harness.bare_uploads PORT

It reads what `POST /images/upload` reads, raw or multipart (Starlette's own form parser), counts
the bytes and answers 202.
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
    """Read the whole body, keep none of it."""
    if request.headers["content-type"].startswith("multipart/"):
        async with request.form() as form:
            files = [one for one in form.getlist("file") if isinstance(one, UploadFile)]
            size = sum([len(await one.read()) for one in files])
    else:
        size = sum([len(piece) async for piece in request.stream()])
    return JSONResponse({"images": [{"status": "accepted", "size_bytes": size}]}, 202)


async def ready(_: Request) -> PlainTextResponse:
    """Tell that it serves."""
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
