"""`--json`: one document on standard output, whatever the exit code; nothing else is there."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from core.offsets import DeadLetter
from core.storage.archive import image_tags
from core.storage.archive.image_tags import TaggedImage
from core.storage.stream import dead_letters
from core.tags import ImageTags
from schemas.dead_letter import DeadLetterPlace
from schemas.image import image_id_of
from schemas.record import Record
from schemas.topics import IMAGES_ARRIVED, IMAGES_BULK
from tests.command import COMMAND
from tests.fakes.vision import unit
from tests.integration.ingress.page.beating import all_roles_beat
from tests.integration.site import Site

KEY = "k" * 43 + "="


async def read(site: Site, *words: str, code: int = 0) -> Any:
    """What a command prints with `--json`."""
    ended, output, errors = await site.run(COMMAND, *words, "--json", SECRETS_KEY=KEY)
    assert ended == code, errors or output
    return json.loads(output)


async def set_aside(site: Site, reason: str) -> None:
    record = Record(IMAGES_ARRIVED.name, b"\xffkey", (("ce_id", b"1"),), b"\x00value")
    place = DeadLetterPlace("tagging", IMAGES_ARRIVED.name, 0, len(reason), reason, "why")
    async with site.pool.transaction() as tx:
        letter = DeadLetter(place, "cluster", record, int(datetime.now(UTC).timestamp() * 1000))
        await dead_letters.add(tx, [letter])


async def test_images_are_counted_by_what_became_of_them(site: Site) -> None:
    site.write("a/1.jpg", "a/2.png", "a/film.mov")

    told = await read(site, "images", str(site.root), "--no-wait")

    assert (told["published"], told["refused"], told["skipped"]) == (2, 0, {"video": 1})


async def test_of_queries_there_is_a_document_per_line(site: Site) -> None:
    file = site.root / "queries.txt"
    file.write_text('a dog\n{"text": "x"}\n')

    code, output, _ = await site.run(COMMAND, "queries", str(file), "--json")

    assert code == 1
    first, second = map(json.loads, output.splitlines())
    assert (first["line"], first["query_id"]) == (1, None)
    assert "no callback_url" in first["problem"]
    assert second["line"] == 2


async def test_dead_letters_are_listed_counted_and_put_back(site: Site) -> None:
    await set_aside(site, "image_unreadable")
    await set_aside(site, "unreadable_record")
    topic = IMAGES_ARRIVED.name

    listed = await read(site, "letters", "list")
    only = await read(
        site, "letters", "list", f"{topic}.tagging.dlq", "--reason", "unreadable_record"
    )
    counted = await read(site, "letters", "replay", topic, "--dry-run")
    replayed = await read(site, "letters", "replay", topic)

    assert [letter["reason"] for letter in listed] == ["unreadable_record", "image_unreadable"]
    assert listed[1]["headers"] == [["ce_id", "1"]]
    assert [letter["reason"] for letter in only] == ["unreadable_record"]
    assert counted == {"matched": {"image_unreadable": 1}, "unreadable": 1}
    assert replayed == {"replayed": {"image_unreadable": 1}, "refused": {}, "unreadable": 1}
    assert len(await site.values(IMAGES_BULK)) == 1


async def test_labels_are_shown_as_they_are_taken(site: Site) -> None:
    file = site.root / "labels.json"
    file.write_text('{"labels": [{"name": "cat", "aliases": ["кот"]}, {"name": "harbour"}]}')

    put = await read(site, "labels", "set", str(file))
    shown = await read(site, "labels", "list")
    file.write_text(json.dumps(shown))
    again = await read(site, "labels", "set", str(file))
    file.write_text(json.dumps(shown | {"version": shown["version"] + 1}))
    code, output, errors = await site.run(COMMAND, "labels", "set", str(file))

    assert [label["name"] for label in shown["labels"]] == ["cat", "harbour"]
    assert shown["labels"][0]["aliases"] == ["кот"]
    assert put == again == {"version": shown["version"]}
    assert (code, output) == (2, "")
    assert "is not in force any more" in errors


async def test_a_label_is_added_to_those_that_are_there(site: Site) -> None:
    before = await read(site, "labels", "list")

    added = await read(site, "labels", "add", "pizza", "пицца")
    code, _, errors = await site.run(COMMAND, "labels", "add", "Pizza")

    after = await read(site, "labels", "list")
    assert after["labels"][:-1] == before["labels"]
    assert after["labels"][-1] == {
        "name": "pizza", "aliases": ["пицца"], "templates": [], "threshold": None,
        "photos": [], "by_words": True,
    }  # fmt: skip
    assert added == {"version": before["version"] + 1}
    assert code == 2
    assert "label 'Pizza' stands twice" in errors


async def test_photos_teach_a_label_by_id_or_by_path_and_those_that_cannot_are_named(
    site: Site,
) -> None:
    paths = [f"photos/{number}.jpg" for number in range(3)]
    for path in paths:
        await store_tagged(site, path)
    shots = [option for path in paths[:2] for option in ("--photo", path)]
    last = str(image_id_of(f"file:{paths[2]}"))

    few = await site.run(COMMAND, "labels", "add", "our dacha", *shots)
    unknown = await site.run(COMMAND, "labels", "add", "our dacha", *shots, "--photo", "photos/x")
    added = await read(
        site, "labels", "add", "our dacha", "дача", *shots, "--photo", last, "--photos-alone"
    )
    shown = await read(site, "labels", "list")
    file = site.root / "labels.json"
    file.write_text(json.dumps(shown))
    again = await read(site, "labels", "set", str(file))

    assert few[0] == unknown[0] == 2
    assert "2 photos: 3 to 10 teach a label" in few[2]
    assert "photos/x: label 'our dacha': no image" in unknown[2]
    label = shown["labels"][-1]
    ids = [str(image_id_of(f"file:{path}")) for path in paths]
    assert (label["photos"], label["by_words"]) == (ids, False)
    assert added == again == {"version": shown["version"]}


async def store_tagged(site: Site, path: str) -> None:
    """Store a photo as the tagging process does, without decoding anything."""
    digest = hashlib.sha256(path.encode()).digest()
    told = ImageTags((), digest, 8, 8, "m@1", "exact-2", unit(digest, 8).astype("<f2").tobytes())
    row = TaggedImage(image_id_of(f"file:{path}"), f"file:{path}", path, None, None, told, 1, 4)
    async with site.pool.transaction() as tx:
        await image_tags.replace(tx, [row], {})


async def test_a_group_goes_on_where_it_is_sent(site: Site) -> None:
    told = await read(site, "reset", "tagging", "--to-end")

    assert told["offsets"] == {str(number): 0 for number in range(IMAGES_ARRIVED.partitions)}
    kept = await site.pool.fetch("SELECT part, next_offset FROM progress WHERE grp = 'tagging'")
    assert {str(row["part"]): row["next_offset"] for row in kept} == told["offsets"]


async def test_keys_targets_images_and_webhooks_can_be_read(site: Site) -> None:
    made = await read(site, "keys", "create", "--owner", "me")
    listed = await read(site, "keys", "list")
    secret = await read(site, "keys", "signing-secret", "--instance")
    changed = await read(site, "targets", "disable", "https://Hooks.Example.")
    unchanged = await read(site, "targets", "disable", "https://hooks.example:443", code=1)
    targets = await read(site, "targets", "list")
    nothing = await read(site, "deliveries", "redeliver", "--host", "a", code=1)

    assert made["created"]
    assert [key["key_id"] for key in listed] == [made["key_id"]]
    assert "digest" not in listed[0]
    assert secret["signing_secret"].startswith("whsec_")
    assert (changed["changed"], unchanged["changed"]) == (True, False)
    assert [one["target"] for one in targets] == ["https://hooks.example:443"]
    assert nothing == {"matched": {}, "again": [], "anew": []}
    assert await read(site, "retag", "--all", "--dry-run") == {"images": 0}
    assert await read(site, "endpoints", "list") == []


async def test_the_status_is_that_of_health_and_so_is_the_exit_code(site: Site) -> None:
    silent = await read(site, "status", code=1)
    await all_roles_beat(site.pool)
    told = await read(site, "status")

    assert silent["roles"]["tagging"]["status"] == "silent"
    assert {role["status"] for role in told["roles"].values()} == {"idle"}
    assert [stage["waiting"] for stage in told["stages"]] == [0] * 7
