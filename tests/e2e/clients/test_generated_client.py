"""A client that OpenAPI Generator makes of `/openapi.json` does what the document promises."""

import json
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

from ingress.documents.openapi import Document
from standalone.demo.receiver import CallbackReceiver
from tests.e2e.archive import RunningArchive
from tests.e2e.clients.generating import generate, import_from
from tests.e2e.pictures import dated_photo

WAIT_S = 60.0


@pytest.fixture(scope="module")
def document(archive: RunningArchive) -> bytes:
    with archive.stranger() as http:
        return http.get("/openapi.json").content


@pytest.fixture(scope="module")
def library(document: bytes, tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The client's package, made of the document and imported."""
    folder = tmp_path_factory.mktemp("client")
    generate(document, folder)
    return import_from(folder)


@pytest.fixture(scope="module")
def as_owner(library: ModuleType, archive: RunningArchive) -> Iterator[Any]:
    """Requests with a key for all but administration."""
    with client(library, archive, archive.access.key) as opened:
        yield opened


def client(library: ModuleType, archive: RunningArchive, key: str) -> Any:
    """A generated client with a key."""
    told = library.Configuration(host=archive.supervisor.ingress_url, api_key={"key": key})
    return library.ApiClient(told)


def test_no_operation_and_no_schema_is_lost(library: ModuleType, document: bytes) -> None:
    described: Document = json.loads(document)
    operations = {
        operation["operationId"]
        for item in described["paths"].values()
        for operation in item.values()
    }

    groups = [vars(library)[name] for name in library.__all__ if name.endswith("Api")]
    methods = {name for group in groups for name in vars(group)}
    assert operations <= methods
    assert len(operations) > 50
    assert described["components"]["schemas"].keys() <= set(library.__all__)


def test_an_upload_is_found_asked_for_and_fetched(
    library: ModuleType, archive: RunningArchive, as_owner: Any, receiver: CallbackReceiver
) -> None:
    images, queries = library.ImagesApi(as_owner), library.QueriesApi(as_owner)
    photo = dated_photo()

    (entry,) = images.images_upload(file=[("walk.jpg", photo.content)]).images
    archive.tags_of(str(entry.image_id))
    shown = images.images_show(entry.image_id)
    best = shown.tags[0]
    page = images.images_browse(tag=best.tag, id=[entry.image_id], total=True)
    asked = queries.queries_submit(
        library.QueryRequest(
            text=f"a picture of {best.tag}",
            callback_url=receiver.url,
            after=entry.token,
            date_from=photo.taken_at,
        )
    )
    answer = receiver.take(WAIT_S)
    delivered = archive.wait_for(
        lambda: (now := queries.queries_show(asked.query_id)).state == "delivered" and now,
        WAIT_S,
        "the query was not delivered",
    )

    assert isinstance(shown, library.ShownImage)
    assert (entry.status, shown.status, shown.image_path) == ("accepted", "tagged", "walk.jpg")
    assert [one.image_id for one in page.images] == [entry.image_id]
    assert page.total.images == 1
    assert isinstance(delivered, library.ShownQuery)
    assert delivered.outcome == "query.completed"
    assert answer is not None
    assert answer.body["data"]["query_id"] == str(asked.query_id)
    assert images.images_content(entry.image_id) == photo.content
    assert images.images_show_thumb(entry.image_id).startswith(b"\xff\xd8")


def test_labels_that_were_read_can_be_written_and_an_older_version_is_a_conflict(
    library: ModuleType, archive: RunningArchive
) -> None:
    made = archive.command("keys", "create", "--owner", "boss", "--scopes", "admin", "--json")
    with client(library, archive, archive.json_of(made)["key"]) as as_admin:
        labels = library.LabelsApi(as_admin)
        before = labels.labels_show()
        same = [
            library.LabelText(
                name=label.name,
                aliases=label.aliases,
                templates=label.templates,
                threshold=label.threshold,
            )
            for label in before.labels
        ]

        after = labels.labels_put(library.LabelSetText(labels=same, version=before.version))
        with pytest.raises(library.ApiException) as refused:
            labels.labels_put(library.LabelSetText(labels=same, version=before.version - 1))

    assert isinstance(after, library.ShownLabels)
    assert [label.name for label in after.labels] == [label.name for label in before.labels]
    assert refused.value.status == 409
    assert refused.value.data.code == "labels_changed"


def test_an_error_is_a_problem_with_its_code_and_the_wrong_fields(
    library: ModuleType, archive: RunningArchive, as_owner: Any
) -> None:
    with pytest.raises(library.exceptions.NotFoundException) as unknown:
        library.ImagesApi(as_owner).images_show(uuid4())
    with pytest.raises(library.exceptions.UnprocessableEntityException) as wrong:
        library.QueriesApi(as_owner).queries_submit(
            library.QueryRequest(text="a cat", callback_url="ftp://example.org/hook")
        )
    with (
        client(library, archive, "pa_wrong") as stranger,
        pytest.raises(library.exceptions.UnauthorizedException) as refused,
    ):
        library.ImagesApi(stranger).images_browse()

    problems = [raised.value.data for raised in (unknown, wrong, refused)]
    assert all(isinstance(problem, library.ProblemDocument) for problem in problems)
    assert [problem.code for problem in problems] == [
        "image_not_found", "callback_forbidden", "key_invalid",
    ]  # fmt: skip
    assert problems[1].errors[0].pointer == "/callback_url"


def test_a_key_signs_in_and_a_code_does(library: ModuleType, archive: RunningArchive) -> None:
    with client(library, archive, archive.access.key) as opened:
        session = library.SessionApi(opened)
        link = session.session_make_link()
        (code,) = re.findall(r"#code=(\S+)", link.url)

        by_key = session.session_begin(library.SignIn(key=archive.access.key))
        by_code = session.session_begin(library.SignIn(code=code, leave=True))

    assert isinstance(by_key, library.ShownSession)
    assert by_key.owner == by_code.owner
