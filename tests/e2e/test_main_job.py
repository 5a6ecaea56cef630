"""From an upload to a received webhook, through all processes."""

import asyncio
import json
from typing import Any

from standardwebhooks import Webhook

from core.relevance.defaults import DEFAULT_LABELS
from standalone.demo.receiver import Callback, CallbackReceiver
from tests.e2e.archive import RunningArchive
from tests.e2e.pictures import DatedPhoto, dated_photo
from tests.fakes.receiver import HostileReceiver, Received

ANSWER_TIMEOUT_S = 30.0
EVERY_LABEL = ", ".join(label.name for label in DEFAULT_LABELS)
RUSSIAN = {label.name: label.aliases[0] for label in DEFAULT_LABELS}


def upload(archive: RunningArchive, photo: DatedPhoto, name: str = "photo.jpg") -> dict[str, Any]:
    """Upload one file; return its entry in the answer."""
    files = [("file", (name, photo.content, "image/jpeg"))]
    response = archive.http.post("/images/upload", files=files)
    assert response.status_code == 202, response.text
    (entry,) = response.json()["images"]
    assert entry["status"] == "accepted", entry
    return dict(entry)


def ask(archive: RunningArchive, text: str, url: str, **options: object) -> str:
    """Submit a query; return its id."""
    body = {"text": text, "callback_url": url, **options}
    response = archive.http.post("/images/tags", json=body)
    assert response.status_code == 202, response.text
    assert response.headers["location"].endswith(response.json()["query_id"])
    return str(response.json()["query_id"])


def answer_to(query_id: str, receiver: CallbackReceiver) -> Callback:
    """Return the only callback for the query, verified by the receiver."""
    callback = receiver.take(ANSWER_TIMEOUT_S)
    assert callback is not None, f"no callback for {query_id}; refused: {receiver.refused}"
    assert callback.body["data"]["query_id"] == query_id
    return callback


def test_a_question_in_english_and_one_in_russian_bring_the_uploaded_photo_back_signed(
    archive: RunningArchive, receiver: CallbackReceiver
) -> None:
    photo = dated_photo()
    entry = upload(archive, photo, "Прогулка.jpg")
    image = archive.tags_of(entry["image_id"])
    best = image["tags"][0]
    questions = {
        f"We are looking for a picture of {best['tag']}, please!": "en",
        f"Покажите, пожалуйста: {RUSSIAN[best['tag']]}": "ru",
    }
    for text in questions:
        query_id = ask(archive, text, receiver.url, **photo.its_day)
        callback = answer_to(query_id, receiver)
        body, data = callback.body, callback.body["data"]

        assert body["type"] == "query.completed"
        assert data["text"] == text
        assert data["image"]["id"] == entry["image_id"]
        assert data["image"]["path"] == "Прогулка.jpg"
        assert data["image"]["media_type"] == "image/jpeg"
        assert [tag["tag"] for tag in data["matched"]] == [best["tag"]]
        assert data["matched"][0]["words"]
        assert data["score"] == data["matched"][0]["score"] == best["score"]
        # The uploaded bytes without their EXIF: no place, no time.
        assert callback.picture is not None
        assert callback.picture.read_bytes() == photo.bare
    assert receiver.refused == 0


def test_an_image_tells_its_tags_its_date_and_its_bytes(archive: RunningArchive) -> None:
    photo = dated_photo()
    entry = upload(archive, photo)

    image = archive.tags_of(entry["image_id"])

    scores = [tag["score"] for tag in image["tags"]]
    assert image["status"] == "tagged"
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 and score == round(score, 6) for score in scores)
    assert image["exif_datetime"] == photo.taken_at.strftime("%Y:%m:%d %H:%M:%S")
    assert (image["width"], image["height"]) == (320, 240)
    content = archive.http.get(f"/images/{entry['image_id']}/content")
    assert content.content == photo.content
    assert content.headers["content-type"] == "image/jpeg"


def test_the_same_upload_twice_is_one_image_and_says_so(archive: RunningArchive) -> None:
    photo = dated_photo()
    first = upload(archive, photo)
    archive.tags_of(first["image_id"])

    second = upload(archive, photo)

    assert (first["duplicate"], second["duplicate"]) == (False, True)
    assert first["image_id"] == second["image_id"]
    count = "SELECT count(*) FROM tagged_images WHERE image_id = $1"
    assert archive.value(count, first["image_id"]) == 1


def test_a_query_after_an_upload_sees_its_tags_however_soon_it_is_sent(
    archive: RunningArchive, receiver: CallbackReceiver
) -> None:
    for _ in range(5):
        photo = dated_photo()
        entry = upload(archive, photo)

        query_id = ask(archive, EVERY_LABEL, receiver.url, after=entry["token"], **photo.its_day)

        callback = answer_to(query_id, receiver)
        assert callback.body["type"] == "query.completed"
        assert callback.body["data"]["image"]["id"] == entry["image_id"]


def test_words_that_name_no_tag_are_answered_with_no_match(
    archive: RunningArchive, receiver: CallbackReceiver
) -> None:
    query_id = ask(archive, "quixotic zephyrs, эклиптика", receiver.url)

    callback = answer_to(query_id, receiver)

    assert callback.body["type"] == "query.no_match"
    assert callback.body["data"].get("image") is None
    assert callback.body["data"]["matched"] == []
    assert callback.picture is None


def test_a_picture_as_a_link_needs_no_key_and_a_changed_link_opens_nothing(
    archive: RunningArchive, receiver: CallbackReceiver
) -> None:
    photo = dated_photo()
    archive.tags_of(upload(archive, photo)["image_id"])
    query_id = ask(archive, EVERY_LABEL, receiver.url, payload="link", **photo.its_day)

    image = answer_to(query_id, receiver).body["data"]["image"]

    assert image.get("base64") is None
    linked = archive.http.get(image["url"], headers={"X-API-Key": ""})
    assert linked.status_code == 200
    other = "0" * 8 + image["id"][8:]
    forged = archive.http.get(image["url"].replace(image["id"], other), headers={"X-API-Key": ""})
    assert forged.status_code == 403
    assert forged.json()["code"] == "link_invalid"


def test_the_same_idempotency_key_asks_once_and_refuses_another_body(
    archive: RunningArchive, receiver: CallbackReceiver
) -> None:
    body = {"text": "quixotic", "callback_url": receiver.url}
    headers = {"Idempotency-Key": f"once-{archive.home.name}"}
    first = archive.http.post("/images/tags", json=body, headers=headers)
    again = archive.http.post("/images/tags", json=body, headers=headers)
    other = archive.http.post("/images/tags", json={**body, "text": "other"}, headers=headers)

    assert first.status_code == again.status_code == 202
    assert again.json()["query_id"] == first.json()["query_id"]
    assert again.headers["idempotency-replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    answer_to(first.json()["query_id"], receiver)
    assert receiver.take(timeout_s=2.0) is None


async def test_a_target_that_fails_at_first_gets_the_same_webhook_id_again(
    archive: RunningArchive,
) -> None:
    async with HostileReceiver() as target:
        query_id = await asyncio.to_thread(ask, archive, "quixotic", target.url("/flaky/1"))
        first, second = await target.wait_for(2, timeout_s=ANSWER_TIMEOUT_S)

    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert _verified(archive, first) == _verified(archive, second)
    response = await asyncio.to_thread(archive.http.get, f"/queries/{query_id}?wait=10")
    (delivery,) = response.json()["deliveries"]
    assert delivery["delivery_id"] == first.headers["webhook-id"]
    assert delivery["state"] == "delivered"
    assert [attempt["status"] for attempt in delivery["attempts"]] == [503, 200]


def _verified(archive: RunningArchive, request: Received) -> Any:
    webhook = Webhook(archive.access.signing_secret)
    webhook.verify(request.body, dict(request.headers))  # raises where the signature is wrong
    return json.loads(request.body)
