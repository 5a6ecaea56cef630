"""Parts of documents that are generated: `python -m tests.documents` writes them (`make docs`).

Settings carry their meaning in docs/operations.md, by hand; names and defaults come from
`core.settings`, so a setting that is missing there, or gone, fails a test.
"""

import re
from pathlib import Path
from textwrap import indent

from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from core.settings import GROUPS, Settings, variables
from core.telemetry.events import EVENTS
from core.telemetry.metrics import Metrics
from tests import dashboard, schema_text
from tests.log_events import levels_of_events

ROOT = Path(__file__).parents[1]
OPERATIONS = ROOT / "docs" / "operations.md"
ENV_EXAMPLE = ROOT / ".env.example"
KUBERNETES_ALARMS = ROOT / "deploy" / "kubernetes" / "components" / "monitoring" / "alarms.yaml"
#: What only docker-compose.yml reads; the others it names are settings of ours.
COMPOSE_ONLY = {
    "POSTGRES_PASSWORD": "of the database in docker-compose.yml; any characters",
    "PUBLISHED_PORT": "where docker-compose.yml publishes the page (8080)",
    "COMPOSE_POSTGRES_MEMORY": "limit of PostgreSQL's memory in docker-compose.yml (2g)",
    "COMPOSE_TAGGING_MEMORY": "limit of each tagging container (6g)",
    "COMPOSE_DELIVERY_MEMORY": "limit of each delivery container (4g)",
    "PHOTOS_DIR": "the folder that docker-compose.yml mounts at /photos (./photos)",
}
EXAMPLE = re.compile(r"<!-- (examples/[\w.]+): make docs -->")
ROW = re.compile(r"^\| `([A-Z0-9_]+)` \| `?[^|]*`? \| (.*) \|$", re.MULTILINE)


def documents() -> list[Path]:
    """Return the documents that may show examples."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def defaults(group: type[Settings]) -> dict[str, str]:
    """Return each variable's default as it would be written in the environment."""
    return {
        name: _text(group.model_fields[field].default) for field, name in variables(group).items()
    }


def _text(default: object) -> str:
    if default is None:
        return ""
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    return str(default).lower() if isinstance(default, bool) else str(default)


def meanings() -> dict[str, str]:
    """Variable -> meaning, as docs/operations.md has them now."""
    return dict(ROW.findall(OPERATIONS.read_text(encoding="utf-8")))


def settings_table(known: dict[str, str]) -> str:
    """The table of settings, a part per group."""
    parts = []
    for group in GROUPS:
        rows = [
            f"| `{name}` | {f'`{default}`' if default else ''} | {known.get(name, '')} |"
            for name, default in defaults(group).items()
        ]
        summary = (group.__doc__ or "").strip().splitlines()[0]
        parts.append(
            "\n".join(
                [f"**{summary}**", "", "| variable | default | meaning |", "|---|---|---|", *rows]
            )
        )
    return "\n\n".join(parts)


def metrics_table() -> str:
    """The table of metrics."""
    registry = CollectorRegistry()
    Metrics(registry)
    rows = [
        f"| `{family.name}{'_total' if family.type == 'counter' else ''}` | {family.type} "
        f"| {family.documentation} |"
        for family in sorted(registry.collect(), key=lambda family: family.name)
    ]
    return "\n".join(["| name | kind | meaning |", "|---|---|---|", *rows]).replace(
        "photo_archive_", ""
    )


def events_table() -> str:
    """The table of log events; levels are those of the calls."""
    levels = levels_of_events(ROOT)
    rows = [
        f"| `{name}` | {', '.join(sorted(levels.get(name, ())))} | {meaning} |"
        for name, meaning in sorted(EVENTS.items())
    ]
    return "\n".join(["| event | level | meaning |", "|---|---|---|", *rows])


def env_example(known: dict[str, str]) -> str:
    """`.env.example`: every variable with its default, commented out."""
    lines = ["# Every setting with its default. Copy to .env and uncomment what you change."]
    for group in GROUPS:
        lines += ["", f"# {(group.__doc__ or '').strip().splitlines()[0]}"]
        for name, default in defaults(group).items():
            if known.get(name):
                lines.append(f"# {known[name].replace('`', '')}")
            lines.append(f"#{name}={default}")
    lines += ["", "# docker-compose.yml alone"]
    for name, meaning in COMPOSE_ONLY.items():
        lines += [f"# {meaning}", f"#{name}="]
    return "\n".join(lines) + "\n"


def between(text: str, name: str, content: str, *, by: str = "make docs") -> str:
    """Put content between the marks of a document.

    Args:
        by: the command that does so, as the mark says it.

    Raises:
        ValueError: the document has no such marks.
    """
    begin, end = f"<!-- {name}: {by} -->", f"<!-- /{name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"no {begin} … {end} in the document")
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


def operations(text: str) -> str:
    """docs/operations.md with its tables brought up to date."""
    text = between(text, "settings", settings_table(meanings()))
    text = between(text, "metrics", metrics_table())
    return between(text, "events", events_table())


def kubernetes_alarms() -> str:
    """Return the alarms of deploy/prometheus as the Prometheus Operator takes them."""
    rules = (ROOT / "deploy" / "prometheus" / "rules.yml").read_text(encoding="utf-8")
    _, _, groups = rules.partition("\ngroups:\n")
    return (
        "# Made by `make docs` of deploy/prometheus/rules.yml: change it there.\n"
        "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\n"
        "metadata:\n  name: photo-archive\nspec:\n  groups:\n" + indent(groups, "  ")
    )


def with_examples(text: str) -> str:
    """Return a document whose marks `<!-- examples/FILE: make docs -->` hold the files."""
    for name in EXAMPLE.findall(text):
        code = (ROOT / name).read_text(encoding="utf-8")
        language = "python" if name.endswith(".py") else "sh"
        text = between(text, name, f"```{language}\n{code}```")
    return text


def main() -> None:
    """Write the generated parts."""
    for document in documents():
        text = document.read_text(encoding="utf-8")
        if text != with_examples(text):
            document.write_text(with_examples(text), encoding="utf-8")
    OPERATIONS.write_text(operations(OPERATIONS.read_text(encoding="utf-8")), encoding="utf-8")
    ENV_EXAMPLE.write_text(env_example(meanings()), encoding="utf-8")
    dashboard.write()
    KUBERNETES_ALARMS.write_text(kubernetes_alarms(), encoding="utf-8")
    schema_text.write()


if __name__ == "__main__":
    main()
