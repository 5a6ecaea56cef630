"""The contract of released events: their schemas, and golden records."""

import copy
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema
import pytest

from core.messaging.cloudevents import decode
from schemas.image import image_id_of
from schemas.query import QuerySubmitted
from schemas.record import Record
from schemas.topics import BY_NAME, EVENT_TOPICS
from tests.unit.schemas.compatibility import breaks
from tests.unit.schemas.freeze import FROZEN, GOLDEN, frozen_models, schema_of

RECORDS = sorted(GOLDEN.glob("*.json"))


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def frozen(name: str) -> dict[str, Any]:
    return read(FROZEN / f"{name}.schema.json")


@pytest.mark.parametrize("name", frozen_models())
def test_a_model_has_not_changed_beyond_optional_fields(name: str) -> None:
    assert breaks(frozen(name), schema_of(frozen_models()[name])) == []


@pytest.mark.parametrize("name", frozen_models())
def test_an_addition_is_frozen_with_the_change_that_makes_it(name: str) -> None:
    assert schema_of(frozen_models()[name]) == frozen(name), "run tests.unit.schemas.freeze"


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_of_an_earlier_release_is_read_as_it_was_meant(path: Path) -> None:
    golden = read(path)
    topic = BY_NAME[golden["topic"]]
    record = Record(
        golden["topic"],
        None if golden["key"] is None else golden["key"].encode(),
        tuple((name, value.encode()) for name, value in golden["headers"].items()),
        golden["value"].encode(),
    )

    meaning = decode(topic, record, topic.model).model_dump(mode="json")

    assert {field: meaning[field] for field in golden["meaning"]} == golden["meaning"]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_golden_record_fits_its_frozen_schema(path: Path) -> None:
    golden = read(path)
    schema = frozen(BY_NAME[golden["topic"]].event_type)

    jsonschema.Draft202012Validator(schema).validate(json.loads(golden["value"]))


def test_every_event_type_has_golden_records() -> None:
    assert {read(path)["topic"] for path in RECORDS} == {topic.name for topic in EVENT_TOPICS}


def test_identities_of_images_never_change() -> None:
    # Rows, links and receivers have these ids, so namespace and spelling must never change.
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    assert image_id_of(f"blob:{sha256}") == UUID("a09be068-51b7-5e11-b827-62218d84b25a")
    assert image_id_of("file:photos/2024/обед.jpg") == UUID(
        read(GOLDEN / "image-tagged-failed.json")["meaning"]["image_id"]
    )


BASE = schema_of(QuerySubmitted)


def changed(**properties: Any) -> dict[str, Any]:
    new = copy.deepcopy(BASE)
    new["properties"] |= properties
    return new


def test_an_added_optional_field_breaks_nothing() -> None:
    assert breaks(BASE, changed(colour={"type": "string"})) == []


def test_an_added_required_field_breaks_old_records() -> None:
    new = changed(colour={"type": "string"})
    new["required"] = [*new["required"], "colour"]

    assert breaks(BASE, new) == ["event.colour: old records lack it"]


def test_a_removed_field_breaks_old_readers() -> None:
    new = copy.deepcopy(BASE)
    del new["properties"]["owner"]

    assert breaks(BASE, new) == ["event.owner: is gone"]


def test_a_field_that_is_needed_no_more_breaks_old_readers() -> None:
    new = copy.deepcopy(BASE)
    new["required"].remove("text")

    assert breaks(BASE, new) == ["event.text: old readers need it"]


def test_a_changed_rule_is_a_break_also_in_a_nested_part() -> None:
    new = copy.deepcopy(BASE)
    new["$defs"]["QueryOptions"]["properties"]["payload"]["enum"].append("email")
    new["properties"]["text"]["maxLength"] = 5

    found = breaks(BASE, new)

    assert [one.partition(":")[0] for one in found] == ["event.text", "QueryOptions.payload"]
