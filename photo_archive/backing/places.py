"""Where the archive is: its home on this machine, or wherever the settings lead."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from core.errors import ConfigurationError
from core.settings import (
    ArchiveSettings,
    DatabaseSettings,
    KafkaSettings,
    SecretSettings,
    StandaloneSettings,
    load,
)


@dataclass(frozen=True, slots=True)
class ArchivePlace:
    """Where the parts of an archive are.

    Attributes:
        home: its folder on this machine; None: it has servers of its own elsewhere.
        key: `SECRETS_KEY`, by which signing secrets are sealed; empty where none is set.
    """

    database: DatabaseSettings
    kafka: KafkaSettings
    archive: ArchiveSettings
    key: str
    home: Path | None


@contextmanager
def running_or_not(say: Callable[[str], None]) -> Iterator[ArchivePlace]:
    """Yield the archive. One at rest in this machine's home gets its servers for the block."""
    if not _is_home(needs_data=True):
        yield _place(None)
        return
    from standalone import resting

    with resting.reach(say=say) as (home, settings):
        _adopt(settings)
        yield _place(home)


@contextmanager
def not_running(
    say: Callable[[str], None], begin: Callable[[Path], None]
) -> Iterator[ArchivePlace]:
    """Yield the archive, which must not run here; its home gets its servers for the block.

    Args:
        say: is called with messages for the person at the terminal.
        begin: is called with the home when nobody else works there, before a server starts.

    Raises:
        ConfigurationError: it runs, or cannot run here.
    """
    if not _is_home(needs_data=False):
        yield _place(None)
        return
    from standalone import resting

    with resting.at_rest(say=say, restores=begin) as (home, settings):
        _adopt(settings)
        yield _place(home)


def _is_home(*, needs_data: bool) -> bool:
    """Return whether the archive is that of this machine's home.

    It is where DATABASE_URL is not set, or leads there: a terminal that has read `env.sh` has it.

    Raises:
        ConfigurationError: STANDALONE_HOME names an archive, and DATABASE_URL leads to another.
    """
    if find_spec("standalone") is None:
        return False
    from standalone import presence, resting

    database = load(DatabaseSettings)
    if "url" in database.model_fields_set:
        url = database.url.get_secret_value()
        if not presence.leads_here(url):
            _refuse_another(url)
            return False
        return True
    return resting.is_here() or not needs_data


def _refuse_another(url: str) -> None:
    """Refuse a database that is not that of the home, where both were told."""
    standalone = load(StandaloneSettings)
    passwords = standalone.home / "postgres" / "passwords.json"
    if "home" in standalone.model_fields_set and passwords.exists():
        raise ConfigurationError(
            f"STANDALONE_HOME is {standalone.home}, an archive of its own, and DATABASE_URL leads"
            f" elsewhere: {url.rpartition('@')[2]}. Unset the one that is not meant; a terminal"
            " that has read env.sh has the DATABASE_URL of that archive"
        )


def _adopt(settings: Mapping[str, str]) -> None:
    """Take over the settings of the archive, as a role would have them from its supervisor."""
    os.environ.update(settings)


def _place(home: Path | None) -> ArchivePlace:
    return ArchivePlace(
        database=load(DatabaseSettings),
        kafka=load(KafkaSettings),
        archive=load(ArchiveSettings),
        key=load(SecretSettings).key.get_secret_value(),
        home=home,
    )
