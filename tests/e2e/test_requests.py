"""Wrong requests of every kind: the answer names the input and the limit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.archive import RunningArchive
from tests.fakes.pictures import jpeg

MIB = 1024 * 1024
UNKNOWN = str(uuid4())
TOO_LARGE = b"\xff\xd8\xff\xe0" + bytes(30 * MIB - 4)


@dataclass(frozen=True, slots=True)
class Wrong:
    """A request that must be refused.

    Attributes:
        says: parts of the problem's detail: the input, and the limit that it exceeds.
        pointer: JSON pointer of the wrong field.
    """

    name: str
    method: str
    path: str
    status: int
    code: str
    says: tuple[str, ...] = ()
    pointer: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)


def query(**fields: object) -> dict[str, Any]:
    """Return the body of a query with some fields changed."""
    return {"json": {"text": "a cat", "callback_url": "http://127.0.0.1:8000/hook", **fields}}


def file(content: bytes, name: str = "a.jpg") -> dict[str, Any]:
    """Return a multipart body with one file."""
    return {"files": {"file": (name, content, "image/jpeg")}}


METADATA_SERVICE = "http://169.254.169.254/latest/meta-data"
WRONG = (
    Wrong("no key", "GET", f"/images/{UNKNOWN}", 401, "key_missing", ("X-API-Key",),
          body={"headers": {}}),
    Wrong("wrong key", "GET", f"/images/{UNKNOWN}", 401, "key_invalid", ("X-API-Key",),
          body={"headers": {"X-API-Key": "pa_wrong"}}),
    Wrong("no image", "POST", "/images/upload", 415, "not_an_image", ("not_an_image",),
          body=file(b"just some text")),
    Wrong("empty file", "POST", "/images/upload", 415, "not_an_image", ("0 bytes",),
          body=file(b"")),
    Wrong("30 MB file", "POST", "/images/upload", 413, "image_too_large",
          (str(30 * MIB), str(25 * MIB)), body=file(TOO_LARGE)),
    Wrong("30 MB body", "POST", "/images/upload", 413, "body_too_large",
          (str(30 * MIB), str(25 * MIB)),
          body={"content": TOO_LARGE, "headers": {"Content-Type": "image/jpeg"}}),
    Wrong("21 files", "POST", "/images/upload", 413, "too_many_files", ("20",),
          body={"files": [("file", (f"{n}.jpg", b"x", "image/jpeg")) for n in range(21)]}),
    Wrong("other media", "POST", "/images/upload", 415, "unsupported_media_type", ("text/plain",),
          body={"content": b"hello", "headers": {"Content-Type": "text/plain"}}),
    Wrong("no part named file", "POST", "/images/upload", 422, "invalid_request", ("photo", "file"),
          body={"files": {"photo": ("a.jpg", b"x", "image/jpeg")}}),
    Wrong("no JSON", "POST", "/images/tags", 400, "malformed_json",
          body={"content": b"{", "headers": {"Content-Type": "application/json"}}),
    Wrong("unknown field", "POST", "/images/tags", 422, "invalid_request", ("colour",), "/colour",
          query(colour="red")),
    Wrong("no text", "POST", "/images/tags", 422, "invalid_request", ("text",), "/text",
          query(text=" ")),
    Wrong("long text", "POST", "/images/tags", 422, "invalid_request", ("2001", "2000"), "/text",
          query(text="a" * 2001)),
    Wrong("large JSON", "POST", "/images/tags", 413, "body_too_large", (str(256 * 1024),),
          body=query(text="a" * 300_000)),
    Wrong("NUL", "POST", "/images/tags", 422, "invalid_request", ("NUL",), "/text",
          query(text="a\0b")),
    Wrong("metadata service", "POST", "/images/tags", 422, "callback_forbidden",
          ("169.254.169.254",), "/callback_url", query(callback_url=METADATA_SERVICE)),
    Wrong("file as callback", "POST", "/images/tags", 422, "callback_forbidden", ("file",),
          "/callback_url", query(callback_url="file:///etc/passwd")),
    Wrong("foreign token", "POST", "/images/tags", 422, "invalid_request", ("token",), "/after",
          query(after="nonsense")),
    Wrong("path out of the root", "POST", "/tag/image", 404, "path_not_found",
          ("photos/../secrets.key",), body={"json": {"image_path": "photos/../secrets.key"}}),
    Wrong("path outside", "POST", "/tag/image", 404, "path_not_found", ("/etc/passwd",),
          body={"json": {"image_path": "/etc/passwd"}}),
    Wrong("unknown root", "POST", "/tag/directory", 404, "path_not_found", ("elsewhere",),
          body={"json": {"directory_path": "elsewhere"}}),
    Wrong("no labels", "POST", "/tag/image", 422, "invalid_request", ("tags",), "/tags",
          {"json": {"image_path": "photos/a.jpg", "tags": []}}),
    Wrong("unknown image", "GET", f"/images/{UNKNOWN}", 404, "image_not_found", (UNKNOWN,)),
    Wrong("unknown content", "GET", f"/images/{UNKNOWN}/content", 404, "image_not_found",
          (UNKNOWN,)),
    Wrong("unknown query", "GET", f"/queries/{UNKNOWN}", 404, "query_not_found", (UNKNOWN,)),
    Wrong("unknown job", "GET", f"/jobs/{UNKNOWN}", 404, "job_not_found", (UNKNOWN,)),
    Wrong("no id", "GET", "/images/42", 404, "not_found"),
    Wrong("no route", "GET", "/nowhere", 404, "not_found", ("/nowhere",)),
    Wrong("wrong method", "DELETE", "/images/upload", 405, "method_not_allowed", ("DELETE",)),
    Wrong("endless wait", "GET", f"/queries/{UNKNOWN}?wait=999", 422, "invalid_request",
          ("999", "30"), "wait"),
)  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_a_wrong_request_is_refused_with_a_problem_that_names_it(
    archive: RunningArchive, wrong: Wrong
) -> None:
    arguments = dict(wrong.body)
    headers = {"X-API-Key": archive.access.key} | arguments.pop("headers", {})
    if wrong.code == "key_missing":
        headers.clear()

    with archive.stranger() as http:
        response = http.request(wrong.method, wrong.path, headers=headers, **arguments)

    assert response.headers["content-type"] == "application/problem+json", response.text
    problem = response.json()
    told = problem["detail"] + str(problem.get("errors", ""))
    assert (response.status_code, problem["code"]) == (wrong.status, wrong.code), problem
    assert problem["status"] == wrong.status
    assert problem["type"] == f"/docs/problems#{wrong.code}"
    assert problem["instance"] == wrong.path.partition("?")[0]
    assert problem["request_id"] == response.headers["x-request-id"]
    for part in wrong.says:
        assert part in told, problem
    if wrong.pointer is not None:
        assert wrong.pointer in {error["pointer"] for error in problem["errors"]}, problem


def test_a_broken_file_among_good_ones_costs_only_itself(archive: RunningArchive) -> None:
    files = [
        ("file", ("good.jpg", jpeg(70_001), "image/jpeg")),
        ("file", ("broken.jpg", b"no picture", "image/jpeg")),
        ("file", ("large.jpg", TOO_LARGE, "image/jpeg")),
    ]

    response = archive.http.post("/images/upload", files=files)

    assert response.status_code == 202
    good, broken, large = response.json()["images"]
    assert (good["status"], good["error"]) == ("accepted", None)
    assert (broken["status"], broken["error"]["code"]) == ("rejected", "not_an_image")
    assert (large["status"], large["error"]["code"]) == ("rejected", "image_too_large")
    assert archive.tags_of(good["image_id"])["status"] == "tagged"


def test_a_key_without_the_scope_is_told_which_one_is_missing(archive: RunningArchive) -> None:
    made = archive.command("keys", "create", "--owner", "reader", "--scopes",
                           "read", "--json")  # fmt: skip
    assert made.returncode == 0, made.stderr
    key = archive.json_of(made)["key"]

    with archive.stranger() as http:
        response = http.post("/images/tags", headers={"X-API-Key": key}, **query())

    assert (response.status_code, response.json()["code"]) == (403, "scope_missing")
    assert "'query'" in response.json()["detail"]


def test_another_owner_sees_neither_query_nor_upload(archive: RunningArchive) -> None:
    made = archive.command("keys", "create", "--owner", "stranger", "--scopes",
                           "read,query", "--json")  # fmt: skip
    headers = {"X-API-Key": archive.json_of(made)["key"]}
    image = archive.http.post("/images/upload", **file(jpeg(70_002))).json()["images"][0]
    asked = archive.http.post("/images/tags", **query()).json()

    with archive.stranger() as http:
        codes = {
            http.get(f"/images/{image['image_id']}", headers=headers).json()["code"],
            http.get(f"/images/{image['image_id']}/content", headers=headers).json()["code"],
            http.get(f"/queries/{asked['query_id']}", headers=headers).json()["code"],
        }

    assert codes == {"image_not_found", "query_not_found"}
