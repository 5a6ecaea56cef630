"""Every table has an end: it is pruned, or there is a reason why it does not grow for ever."""

import re
from pathlib import Path

from consumers.upkeep.pruning import ages
from core.settings import RetentionSettings
from core.storage import retention

SCHEMA = Path(__file__).parents[3] / "migrations" / "versions" / "0001_schema.sql"
#: What is pruned goes by the name of its table, but for these.
PRUNED_AS = {"deleted_queries": "queries", "tombstones": "images", "large_thumbs": "thumbs"}
BOUNDED = {
    "api_keys": "as many as people make",
    "attempts": "go with their delivery",
    "changes": "a chore of its own: two minutes of them",
    "combo_best": "a row per set of labels that occurs together",
    "combo_state": "one row",
    "combo_work": "what repair has not done yet",
    "duplicate_decisions": "what people decided stays",
    "endpoints": "1,000 of an owner",
    "forgotten": "what one promotion lost; it is read by a person long after",
    "image_owners": "go with their image",
    "image_tags": "go with their image",
    "inboxes": "10 of an owner, in the standalone mode alone",
    "label_means": "per label and model",
    "label_set": "one row",
    "labels": "30,000",
    "lanes": "a chore of its own forgets those of which nothing is left",
    "leases": "a row per chore",
    "noted_images": "what upkeep has not followed yet",
    "outbox": "what Kafka does not have yet; the ingress refuses beyond OUTBOX_MAX_ROWS",
    "parked_images": "each ends by itself",
    "parked_places": "go with their parked image",
    "parked_queries": "each has a deadline",
    "progress": "a row per partition",
    "promotions": "a row per server that the archive has lived on",
    "rescoring": "a row per model",
    "saved_filters": "100 of an owner",
    "signing_secrets": "as many as people rotate",
    "stage_trends": "a ring of 60 slots a stage",
    "tagged_images": "go with their image",
    "total_changes": "folded each second",
    "watched_files": "a row per file that was seen: what is known of one that is gone tells a move",
}


def test_every_table_is_pruned_or_says_why_it_need_not_be() -> None:
    tables = set(re.findall(r"^CREATE TABLE (\w+)", SCHEMA.read_text(), re.MULTILINE))
    pruned = {PRUNED_AS.get(name, name) for name in (*retention.AGED, *retention.SWEPT)}

    assert len(tables) > 40
    assert tables - pruned - BOUNDED.keys() == set(), "prune it, or say here why it is bounded"
    assert (pruned | BOUNDED.keys()) - tables == set(), "there is no such table"


def test_whatever_can_be_pruned_is_pruned() -> None:
    assert set(ages(RetentionSettings())) == {*retention.AGED, *retention.SWEPT}
