"""lit-html, which the page is drawn with: fetched once as a WebJar, cached beside Kafka's jars.

    python -m standalone.lit_html          fetch it into the cache
    python -m standalone.lit_html FILE     and copy it to FILE

Exit codes: 0 it is there; 1 it could not be fetched, and everything but the page works.
"""

import shutil
import sys
from pathlib import Path

from core.settings import StandaloneSettings, load
from standalone.environment import cache_directory
from standalone.failures import DownloadFailed, NotSupported
from standalone.kafka.jars import LOCK_FILE, Jar, fetch_alone, parse_lock

_GROUP, _ARTIFACT = "org.webjars.npm", "lit-html"


def lit_html_jar() -> Jar:
    """Return which file it is."""
    every = parse_lock(LOCK_FILE.read_text())
    return next(jar for jar in every if (jar.group, jar.artifact) == (_GROUP, _ARTIFACT))


def place_of_lit_html(cache: Path) -> Path:
    """Return where the file is kept, whether it is there or not."""
    return lit_html_jar().path(cache.resolve() / "kafka" / "repository")


def fetch_lit_html(cache: Path) -> Path:
    """Return the file, checked; download it where it is missing, and nothing that it names.

    Raises:
        NotSupported: another content came than the lock names, or jgo is not installed.
        DownloadFailed: the download failed.
    """
    return fetch_alone(lit_html_jar(), cache / "kafka")


def main(arguments: list[str]) -> int:
    """Fetch it; return the exit code."""
    try:
        fetched = fetch_lit_html(cache_directory(load(StandaloneSettings).home))
        for wanted in arguments:
            shutil.copyfile(fetched, wanted)
    except (NotSupported, DownloadFailed, OSError) as error:
        print(
            f"lit-html could not be fetched: {error}\nall works but the page at /, which says so;"
            " `make page` tries again",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
