"""The changes of an event's schema that are compatible with old readers and records. Pure."""

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]


def breaks(old: Schema, new: Schema) -> list[str]:
    """Return every difference other than an added optional field, as a sentence."""
    return [*_objects(old, new, "event"), *_definitions(old, new)]


def _definitions(old: Schema, new: Schema) -> Iterator[str]:
    renewed = new.get("$defs", {})
    for name, definition in old.get("$defs", {}).items():
        if name not in renewed:
            yield f"{name}: is gone"
        elif "properties" in definition:
            yield from _objects(definition, renewed[name], name)
        elif definition != renewed[name]:
            yield f"{name}: {definition} became {renewed[name]}"


def _objects(old: Schema, new: Schema, name: str) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    for field, rule in before.items():
        if field not in after:
            yield f"{name}.{field}: is gone"
        elif after[field] != rule:
            yield f"{name}.{field}: {rule} became {after[field]}"
    needed, now_needed = set(old.get("required", ())), set(new.get("required", ()))
    for field in sorted(now_needed - needed):
        yield f"{name}.{field}: old records lack it"
    for field in sorted(needed - now_needed):
        yield f"{name}.{field}: old readers need it"
