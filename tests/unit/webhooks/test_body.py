"""The body: compact JSON with the image's bytes exactly once, as base64."""

import base64
import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.webhooks.body import _PIECE_BYTES, OFF_LOOP_BYTES, build_body, encode_image
from schemas.callback import AnswerType, MatchedTag
from schemas.webhook import WebhookBody, WebhookData, WebhookImage

QUERY_ID = UUID("01890000-0000-7000-8000-000000000001")
IMAGE_ID = UUID("01890000-0000-5000-8000-000000000002")


def answer(*, text: str = "кошка on a beach", image: bool = True) -> WebhookBody:
    found = WebhookImage(id=IMAGE_ID, path="a/cat.jpg", media_type="image/jpeg")
    return WebhookBody(
        type=AnswerType.COMPLETED if image else AnswerType.NO_MATCH,
        timestamp=datetime(2026, 11, 21, 12, tzinfo=UTC),
        data=WebhookData(
            query_id=QUERY_ID,
            text=text,
            lemmas=("кошка", "beach"),
            matched=(MatchedTag(tag="cat", words=("кошка",), score=0.93),),
            score=0.93,
            image=found if image else None,
        ),
    )


def test_a_body_without_an_image_is_compact_utf8_json() -> None:
    body = build_body(answer(image=False))

    assert body == json.dumps(json.loads(body), ensure_ascii=False, separators=(",", ":")).encode()
    assert "кошка".encode() in body
    assert json.loads(body)["type"] == "query.no_match"
    assert "image" not in json.loads(body)["data"]


@pytest.mark.parametrize(
    "size", [0, 1, 2, 3, _PIECE_BYTES - 1, _PIECE_BYTES, _PIECE_BYTES + 1, OFF_LOOP_BYTES + 1]
)
async def test_the_image_stands_in_the_body_as_base64(size: int) -> None:
    content = bytes(number % 251 for number in range(size))

    body = build_body(answer(), await encode_image(content))

    image = json.loads(body)["data"]["image"]
    assert image == {
        "id": str(IMAGE_ID),
        "path": "a/cat.jpg",
        "media_type": "image/jpeg",
        "base64": base64.b64encode(content).decode(),
    }


async def test_splicing_gives_what_the_model_itself_would_give() -> None:
    content = b"\xff\xd8 picture"
    given_image = WebhookImage(
        id=IMAGE_ID,
        path="a/cat.jpg",
        media_type="image/jpeg",
        base64=base64.b64encode(content).decode(),
    )
    plain = answer()
    whole = plain.model_copy(update={"data": plain.data.model_copy(update={"image": given_image})})

    assert build_body(plain, await encode_image(content)) == build_body(whole)


def test_bytes_for_an_answer_without_an_image_are_an_error() -> None:
    with pytest.raises(ValueError, match="without one"):
        build_body(answer(image=False), b"eA==")


@given(st.text(max_size=50))
def test_any_query_text_survives(text: str) -> None:
    body = build_body(answer(text=text), b"YWJj")

    assert json.loads(body)["data"]["text"] == text
