"""Names that look the same are one label: in the database, in events, by hand, in filters."""

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unicodedata import category
from uuid import UUID

import httpx
import pytest

from core.storage import labels
from core.storage.pool import Pool
from core.storage.scoring import label_previews
from core.tags import Label
from ingress.auth.api_keys import Scope
from schemas.image import image_id_of
from schemas.names import fold
from tests.integration.ingress.world import MakeWorld, WatchedPool, World
from tests.integration.tagging.archive import Archive, arrival

_LEFT_OUT = {"Cn", "Cs", "Co"}  # unassigned, surrogates, private
CAT = image_id_of("file:p/1.jpg")


@pytest.fixture
def world(archive: Archive, tmp_path: Path) -> World:
    return MakeWorld(WatchedPool(archive.pool), tmp_path)()


@pytest.fixture
async def admin(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client(Scope.ADMIN) as client:
        yield client


async def names(pool: Pool) -> dict[str, int]:
    return {row["name"]: row["id"] for row in await pool.fetch("SELECT id, name FROM labels")}


async def test_the_database_folds_as_python_does(pool: Pool) -> None:
    # Of characters that Unicode has got lately, one of the two may not know yet. And not of Chinese
    # and Korean, which are many and have no case.
    known = [
        one for one in map(chr, range(1, sys.maxunicode + 1)) if category(one) not in _LEFT_OUT
    ]
    some = [f"x{one}y" for one in known if not "\u3400" <= one <= "\ud7ff" and one < "\U00020000"]

    rows = await pool.fetch("SELECT n, label_key(n) AS key FROM unnest($1::text[]) AS u (n)", some)

    wrong = [f"U+{ord(row['n'][1]):04X}" for row in rows if row["key"] != fold(row["n"])]
    assert wrong == []


async def test_the_older_id_stays_and_its_spelling(archive: Archive) -> None:
    before = await names(archive.pool)

    async with archive.pool.transaction() as tx:
        ids = await labels.ensure(tx, ["Cat", "ＤＯＧ", "Lynx", "lynx "])

    after = await names(archive.pool)
    assert (ids["Cat"], ids["ＤＯＧ"]) == (before["cat"], before["dog"])
    assert ids["Lynx"] == ids["lynx "]
    assert set(after) - set(before) == {"Lynx"}


async def test_labels_put_in_force_in_another_spelling_are_those_that_were(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    before = await labels.current(archive.pool)
    given = [{"name": f" {label.name.upper()} "} for label in before.labels]

    shown = (await admin.put("/labels", json={"labels": given})).json()

    assert shown["version"] == before.version
    assert [one["name"] for one in shown["labels"]] == [one.name for one in before.labels]


async def test_a_preview_of_another_spelling_changes_nothing(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    before = await labels.current(archive.pool)
    given = [{"name": label.name.upper()} for label in before.labels]

    await admin.post("/labels/preview", json={"labels": given})

    async with archive.pool.connection() as connection:
        asked = await label_previews.take(connection, 60)
    assert asked is not None
    assert [one.name for one in asked.labels] == [one.name for one in before.labels]


async def test_in_one_event_a_score_is_not_split_and_counts_once(archive: Archive) -> None:
    await archive.tag(arrival(1, labels=("cat", "dog")))
    plain = (await archive.rows())["p/1.jpg"]

    await archive.tag(arrival(1, labels=("CAT", "Dog", "cat ", "ｄｏｇ")))

    again = (await archive.rows())["p/1.jpg"]
    assert again["tags"] == plain["tags"]
    assert again["listed"] == plain["listed"]
    assert sum(again["tags"].values()) == pytest.approx(1, abs=1e-5)


async def test_a_label_that_is_added_by_two_at_once_is_one(archive: Archive) -> None:
    first = await archive.prepare(arrival(1, labels=("Lynx",)))
    second = await archive.prepare(arrival(2, labels=("LYNX",)))

    for items in (first, second):
        async with archive.pool.transaction() as tx:
            await archive.role.apply(items, tx)

    rows = await archive.rows()
    assert rows["p/1.jpg"]["tags"] == rows["p/2.jpg"]["tags"] == {"Lynx": 1.0}
    assert rows["p/2.jpg"]["listed"] == {"Lynx": 1.0}


async def test_by_hand_a_tag_is_the_label_that_it_looks_like(
    archive: Archive, admin: httpx.AsyncClient
) -> None:
    await archive.tag(arrival(1))

    set_so = await admin.patch(f"/images/{CAT}", json={"tags": [{"tag": "CAT "}]})
    twice = await admin.patch(
        f"/images/{CAT}", json={"tags": [{"tag": "cat"}, {"tag": "Cat", "score": 0.5}]}
    )

    assert set_so.status_code == 200, set_so.text
    assert (await archive.rows())["p/1.jpg"]["listed"] == {"cat": 1.0}
    assert twice.status_code == 422


@pytest.mark.parametrize("kind", ["add_tag", "remove_tag"])
async def test_a_change_to_many_is_of_the_label_that_its_tag_looks_like(
    archive: Archive, admin: httpx.AsyncClient, kind: str
) -> None:
    await archive.tag(arrival(1))
    tag = next(iter((await archive.rows())["p/1.jpg"]["tags"]))
    asked = {"filter": {"ids": [str(CAT)]}, "change": {kind: f"{tag.upper()} "}, "dry_run": False}

    made = await admin.post("/images/changes", json=asked)

    assert made.status_code == 202, made.text
    kept = await archive.pool.fetchval("SELECT change FROM image_changes")
    assert json.loads(kept) == {kind: tag}


async def found(http: httpx.AsyncClient, **asked: Any) -> set[UUID]:
    answer = await http.get("/images", params=asked)
    assert answer.status_code == 200, answer.text
    return {UUID(image["image_id"]) for image in answer.json()["images"]}


@pytest.mark.parametrize("name", ["CAT", " cat", "ｃａｔ", "c\u00adat"])
async def test_filters_find_a_tag_in_whichever_spelling(
    archive: Archive, admin: httpx.AsyncClient, name: str
) -> None:
    await archive.tag(arrival(1, labels=("cat",)), arrival(2, labels=("dog",)))
    dog = image_id_of("file:p/2.jpg")

    for field in ("tag", "all", "any", "text"):
        assert await found(admin, **{field: name}) == {CAT}
    assert await found(admin, **{"not": name}) == {dog}


async def test_sql_typed_by_hand_finds_its_label_too(archive: Archive) -> None:
    await archive.tag(arrival(1))
    before = await names(archive.pool)

    await archive.pool.execute(
        """UPDATE tagged_images SET tags = '[{"tag": "Cat", "score": 0.7}]'"""
    )

    assert await names(archive.pool) == before
    assert (await archive.rows())["p/1.jpg"]["listed"] == {"cat": 0.7}


async def test_a_default_label_keeps_its_prompts_where_an_event_spells_it_otherwise(
    archive: Archive,
) -> None:
    async with archive.pool.transaction() as tx:
        await labels.define(tx, [Label("cat", templates=("a drawing of a {}",)), Label("dog")])
    await archive.tag(arrival(1, labels=("cat", "dog")), arrival(2, labels=("Cat", "DOG")))
    rows = await archive.rows()
    assert set(rows["p/1.jpg"]["tags"]) == set(rows["p/2.jpg"]["tags"]) == {"cat", "dog"}
