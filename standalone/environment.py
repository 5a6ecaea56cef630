"""The environment that child processes get, and where shared caches lie."""

import os
from collections.abc import Mapping
from pathlib import Path

# They would change the embedded servers behind our back: Java's are also read by the child that
# assembles the AOT cache, libpq's redirect psql.
_UNWANTED = ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH")
_UNWANTED_PREFIXES = ("KAFKA_", "PG")


def inherited(source: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Our own environment without what redirects Java, Kafka or PostgreSQL."""
    return {
        name: value
        for name, value in source.items()
        if name not in _UNWANTED and not name.startswith(_UNWANTED_PREFIXES)
    }


def cache_directory(home: Path, source: Mapping[str, str] = os.environ) -> Path:
    """Where jars and AOT caches are kept, shared by the demo and the tests.

    `$XDG_CACHE_HOME/photo-archive`, else `~/.cache/photo-archive`, else a folder in `home`.
    Made when missing. Nothing of value lies there: it may be deleted at any time.
    """
    candidates = []
    if source.get("XDG_CACHE_HOME", "").startswith("/"):
        candidates.append(Path(source["XDG_CACHE_HOME"]))
    if source.get("HOME", "").startswith("/"):
        candidates.append(Path(source["HOME"]) / ".cache")
    for parent in candidates:
        folder = parent / "photo-archive"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    folder = home / "cache"
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()
