"""`python -m tests.unit.schemas.freeze`: write the schemas of the current models.

Run it when an event model has changed, and review the difference before committing it: a test
allows only added optional fields. Golden records are written by hand and never changed.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from schemas.topics import EVENT_TOPICS
from schemas.webhook import WebhookBody

FROZEN = Path(__file__).parents[3] / "schemas" / "frozen"
GOLDEN = FROZEN / "golden"


def frozen_models() -> dict[str, type[BaseModel]]:
    """Return the models by file name: one per event type, and the webhook's body."""
    events = {topic.event_type: topic.model for topic in EVENT_TOPICS}
    return {**events, "photoarchive.webhook.v1": WebhookBody}


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema that is compared: fields and rules, without texts for people."""
    schema = model.model_json_schema(mode="validation")
    without_texts: dict[str, Any] = _without_texts(schema)
    return without_texts


def _without_texts(node: Any) -> Any:
    if isinstance(node, dict):
        # `properties` may have a field named `title` or `description`, which is no text.
        return {
            key: {name: _without_texts(one) for name, one in value.items()}
            if key in {"properties", "$defs"}
            else _without_texts(value)
            for key, value in node.items()
            if key not in {"title", "description"} or not isinstance(value, str)
        }
    return [_without_texts(one) for one in node] if isinstance(node, list) else node


def main() -> None:
    """Write all files."""
    for name, model in frozen_models().items():
        text = json.dumps(schema_of(model), indent=2, sort_keys=True, ensure_ascii=False)
        (FROZEN / f"{name}.schema.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
