"""Missing thumbnails are made by real sealed decoders, held while they are needed."""

import io
import subprocess
import sys

import httpx
from PIL import Image

from ingress.main import Opened
from tests.fakes.pictures import endless_jpeg, jpeg
from tests.integration.ingress.conftest import REPOSITORY
from tests.integration.ingress.problems import problem_in


async def sent(client: httpx.AsyncClient, content: bytes) -> str:
    response = await client.post(
        "/images/upload", content=content, headers={"content-type": "image/jpeg"}
    )
    assert response.status_code == 202, response.text
    return str(response.json()["images"][0]["image_id"])


async def test_a_photo_that_was_just_sent_has_both_thumbnails(
    client: httpx.AsyncClient, opened: Opened
) -> None:
    image_id = await sent(client, jpeg(1, (2400, 1800)))
    for query, size in (("", (400, 300)), ("?size=large", (1600, 1200))):
        response = await client.get(f"/images/{image_id}/thumb{query}")
        assert response.status_code == 200, response.text
        with Image.open(io.BytesIO(response.content)) as image:
            assert image.size == size
    assert await opened.deps.pool.fetchval("SELECT count(*) FROM thumbs") == 2


async def test_a_picture_that_takes_more_than_its_share_is_refused(
    client: httpx.AsyncClient,
) -> None:
    image_id = await sent(client, endless_jpeg(scans=2600, side=4000))
    problem = problem_in(await client.get(f"/images/{image_id}/thumb"), "thumb_missing")
    assert "slow_picture" in problem["detail"]


def test_the_ingress_loads_neither_torch_nor_pillow() -> None:
    source = (
        "import sys, ingress.main;"
        "print([name for name in ('torch', 'open_clip', 'onnxruntime', 'PIL')"
        " if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
