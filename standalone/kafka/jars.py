"""Apache Kafka's jars: fetched by jgo into our own cache, checked against our own list.

The list has one more, which Java never sees: the WebJar that the page is drawn with
(`standalone/lit_html.py`). jgo verifies nothing that it downloads or finds (3.2.0;
docs/research/embedded.md, section 1.1), so `kafka-jars.lock` holds the name and SHA-256 of each
jar, and nothing else is used.
"""

import fcntl
import hashlib
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from standalone.failures import DownloadFailed, NotSupported
from standalone.platforms import unsupported

LOCK_FILE = Path(__file__).with_name("kafka-jars.lock")
#: What the others follow from: Kafka, and the binding of its log.
_ASKED_FOR = ("kafka_2.13", "log4j-slf4j-impl")
WEBJARS = "org.webjars.npm"  # the group of what is not for the class path
_LINE = re.compile(r"^([\w.-]+):([\w.-]+):([\w.-]+) ([0-9a-f]{64})$")


@dataclass(frozen=True, slots=True, order=True)
class Jar:
    """One jar of the list."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def name(self) -> str:
        """`group:artifact:version`."""
        return f"{self.group}:{self.artifact}:{self.version}"

    def path(self, repository: Path) -> Path:
        """Return its path in a Maven repository."""
        folder = repository.joinpath(*self.group.split("."), self.artifact, self.version)
        return folder / f"{self.artifact}-{self.version}.jar"


def parse_lock(text: str) -> tuple[Jar, ...]:
    """Return the jars of a list, in class path order. Empty lines and `#` comments are skipped.

    Raises:
        ValueError: a line is not `group:artifact:version sha256`, or a jar stands twice.
    """
    jars: list[Jar] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            raise ValueError(f"line {number}: {line!r} is not group:artifact:version sha256")
        jars.append(Jar(*match.groups()))
    if len({(jar.group, jar.artifact) for jar in jars}) != len(jars):
        raise ValueError("a jar stands twice")
    return tuple(jars)


def check_names(wanted: Sequence[Jar], found: frozenset[str]) -> None:
    """Refuse a resolved set that is not the list.

    Raises:
        NotSupported: they differ; the message has the names.
    """
    names = frozenset(jar.name for jar in wanted)
    if names != found:
        missing = ", ".join(sorted(names - found)) or "none"
        extra = ", ".join(sorted(found - names)) or "none"
        raise NotSupported(
            f"the resolved jars are not those of {LOCK_FILE.name}: missing {missing}; "
            f"not in the list {extra}"
        )


def remove_wrong(jars: Sequence[Jar], repository: Path) -> tuple[Jar, ...]:
    """Delete the files whose content is not that of the list.

    Returns:
        The jars that are missing now, those that were before among them.
    """
    missing = []
    for jar in jars:
        found = sha256_of(jar.path(repository))
        if found == jar.sha256:
            continue
        missing.append(jar)
        if found:
            jar.path(repository).unlink()
            why = f"its content is not the one named in {LOCK_FILE.name}"
            print(f"deleted {jar.name}: {why}", file=sys.stderr, flush=True)
    return tuple(missing)


def fetch_jars(cache: Path, lock: Path = LOCK_FILE) -> tuple[Path, ...]:
    """Return Kafka's class path, checked; download what is missing.

    Args:
        cache: folder of the jars; several processes may share it.
        lock: the file with the list.

    Raises:
        NotSupported: what was downloaded differs from the list in a name or a content (it is
            deleted then), or jgo is not installed.
        DownloadFailed: the download failed.
    """
    jars = class_path(parse_lock(lock.read_text()))
    with _repository(cache) as repository:
        # A download that was interrupted, or a file changed since, is fetched once more.
        if remove_wrong(jars, repository):
            check_names(jars, _resolve(jars, cache.resolve(), repository))
            _refuse_wrong(jars, repository)
    return tuple(jar.path(repository) for jar in jars)


def fetch_alone(jar: Jar, cache: Path) -> Path:
    """Return one jar without those that it names, checked; download it where it is missing.

    Raises as `fetch_jars`.
    """
    with _repository(cache) as repository:
        if remove_wrong([jar], repository):
            _download(jar, repository)
            _refuse_wrong([jar], repository)
    return jar.path(repository)


def class_path(jars: Sequence[Jar]) -> tuple[Jar, ...]:
    """Return those of the list that Java gets."""
    return tuple(jar for jar in jars if jar.group != WEBJARS)


def _refuse_wrong(jars: Sequence[Jar], repository: Path) -> None:
    """Delete what was downloaded with another content than that of the list, and say so."""
    if wrong := remove_wrong(jars, repository):
        raise NotSupported(
            f"{', '.join(jar.name for jar in wrong)} was downloaded with another content "
            f"than {LOCK_FILE.name} names, and deleted: somebody on the way changes files"
        )


def _download(jar: Jar, repository: Path) -> None:
    """Download one file with jgo."""
    context = _jgo(repository)
    print(f"downloading {jar.artifact} {jar.version}, once …", file=sys.stderr, flush=True)
    try:
        context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise DownloadFailed(jar.name, error) from error


def _jgo(repository: Path) -> Any:
    """Return jgo's client on our own repository, never the user's."""
    try:
        from jgo.maven import MavenContext
    except ImportError as error:
        raise NotSupported(unsupported("Kafka", "jgo")) from error
    return MavenContext(repo_cache=repository)


def kafka_version(jars: Sequence[Jar]) -> str:
    """Return the version of Apache Kafka in a list."""
    return next(jar.version for jar in jars if jar.artifact == _ASKED_FOR[0])


def endpoint(jars: Sequence[Jar]) -> str:
    """Return what jgo is asked for, so that it finds the jars of a list.

    The "!" pins every version to the one that Kafka asks for: without it the log binding's parent
    manages them all, and kafka-clients 4.3 silently becomes 3.9.1.
    """
    return "+".join(jar.name for jar in jars if jar.artifact in _ASKED_FOR) + "!"


def _resolve(jars: Sequence[Jar], cache: Path, repository: Path) -> frozenset[str]:
    """Download with jgo; return the names of the jars that it chose."""
    context = _jgo(repository)
    from jgo.env import EnvironmentBuilder, LinkStrategy

    version = kafka_version(jars)
    print(f"downloading Apache Kafka {version} (45 MB), once …", file=sys.stderr, flush=True)
    environments = cache / "environments"
    shutil.rmtree(environments, ignore_errors=True)  # jgo would trust links to deleted jars
    try:
        # Not jgo.build: it reads the user's jgo file and hard-links into the user's repository.
        builder = EnvironmentBuilder(
            context=context,
            cache_dir=environments,
            link_strategy=LinkStrategy.SOFT,
        )
        found = builder.from_endpoint(endpoint(jars)).all_jars
    except (OSError, RuntimeError, ValueError) as error:
        raise DownloadFailed("Apache Kafka (46 jars, 45 MB)", error) from error
    return frozenset(_coordinate(Path(path).resolve(), repository) for path in found)


def _coordinate(path: Path, repository: Path) -> str:
    *group, artifact, version, _ = path.relative_to(repository).parts
    return f"{'.'.join(group)}:{artifact}:{version}"


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file; empty where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""


@contextmanager
def _repository(cache: Path) -> Iterator[Path]:
    """Yield the folder of the jars to one process at a time; others wait."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield cache.resolve() / "repository"
