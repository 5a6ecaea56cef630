"""python -m migrations [schema | labels [FILE] | topics | all]: what must exist before a start.

Idempotent: may be run at every start, by several at once. `labels FILE.json` makes the labels in
the file the default ones.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from core.errors import ConfigurationError, PhotoTaggerError
from migrations import labels, schema, topics

STEPS = ("schema", "labels", "topics")


async def _run(steps: list[str], label_file: Path | None) -> None:
    if "schema" in steps:
        await schema.upgrade()
    if "labels" in steps:
        if label_file is None:
            await labels.define()
        else:
            print(f"migrations: labels are at version {await labels.take_over(label_file)}")
    if "topics" in steps:
        await topics.create()


def main() -> int:
    """Run the wanted steps; exit code 2 for a wrong setting, 1 for a server that is away."""
    parser = argparse.ArgumentParser(prog="python -m migrations")
    parser.add_argument("step", nargs="?", default="all", choices=[*STEPS, "all"])
    parser.add_argument("file", nargs="?", type=Path, help="labels to take over, as JSON")
    options = parser.parse_args()
    wanted: str = options.step
    if options.file is not None and wanted != "labels":
        parser.error("a file goes with the step labels")
    steps = list(STEPS) if wanted == "all" else [wanted]
    try:
        asyncio.run(_run(steps, options.file))
    except ConfigurationError as error:
        print(f"configuration: {error}", file=sys.stderr)
        return 2
    except (PhotoTaggerError, OSError) as error:
        print(f"migrations: {error}", file=sys.stderr)
        return 1
    print(f"migrations: {', '.join(steps)}: up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
