"""The environment of child processes, and the place of shared caches."""

import os
from collections.abc import Mapping
from pathlib import Path

# These would change the embedded servers: Java reads them, in the process that builds the AOT cache
# too, and libpq's would send psql to another server.
_UNWANTED = ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH")
_UNWANTED_PREFIXES = ("KAFKA_", "PG")


def inherited(source: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return our own environment without what redirects Java, Kafka or PostgreSQL."""
    return {
        name: value
        for name, value in source.items()
        if name not in _UNWANTED and not name.startswith(_UNWANTED_PREFIXES)
    }


def cache_directory(home: Path, source: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of jars and AOT caches, which the demo and the tests share.

    It is `$XDG_CACHE_HOME/photo-archive`, else `~/.cache/photo-archive`, else a folder in `home`,
    and is created when missing. It may be deleted at any time.
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
