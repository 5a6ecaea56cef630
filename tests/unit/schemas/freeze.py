"""`python -m tests.unit.schemas.freeze`: write the schemas of the present models.

Run it when an event model has changed, and look at the difference before it is committed: a test
allows added optional fields only. Golden records are written by hand and never changed.
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
    """File name -> model: one per event type, and the webhook's body."""
    events = {topic.event_type: topic.model for topic in EVENT_TOPICS}
    return {**events, "photoarchive.webhook.v1": WebhookBody}


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """What is compared: fields and rules; texts for people may change."""
    schema = model.model_json_schema(mode="validation")
    without_texts: dict[str, Any] = _without_texts(schema)
    return without_texts


def _without_texts(node: Any) -> Any:
    if isinstance(node, dict):
        # `properties` may have a field called `title` or `description`: those are no texts.
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
