"""The archive of this machine's home, for a command that works with its data: running or at rest.

At rest its servers are started for the command alone, and stopped behind it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from core.errors import ConfigurationError
from core.settings import DatabaseSettings, StandaloneSettings, load
from standalone import restore_note
from standalone.failures import DirectoryLocked
from standalone.presence import leads_here
from standalone.shell import FILE_NAME, read_shell_file
from standalone.supervision.planning import make_plan
from standalone.supervision.supervisor import Supervisor


def is_here() -> bool:
    """Return whether the home has data of an archive, or of a restore that was cut off."""
    home = _home()
    return (home / "postgres" / "passwords.json").exists() or restore_note.is_there(home)


@contextmanager
def reach(*, say: Callable[[str], None]) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """Yield the home and the settings of its archive, which runs or not.

    Raises:
        ConfigurationError: a server cannot run here; the message says why.
    """
    try:
        with at_rest(say=say) as found:
            yield found
    except _Runs as error:
        settings = read_shell_file(_home())
        if "DATABASE_URL" not in settings and not _knows_the_way():
            raise ConfigurationError(
                f"{error}. It is not up yet: {_home() / FILE_NAME} says where it is when it is"
            ) from error
        yield _home(), settings


@contextmanager
def at_rest(
    *, say: Callable[[str], None], restores: Callable[[Path], None] | None = None
) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """Yield the home and the settings of its archive: Kafka and PostgreSQL alone run for the block.

    Args:
        say: is called with messages for the person at the terminal.
        restores: given by who restores a backup into the home, which then need not be whole; is
            called with the home when nobody else works there, before a server starts.

    Raises:
        DirectoryLocked: the archive runs; the message names its process.
        HomeNotWhole: a restore was cut off there; the message says what to do.
        ConfigurationError: a server cannot run here; the message says why.
    """
    plan = make_plan(model="unused")
    settings = read_shell_file(plan.settings.home)
    # What only the last start was told, the folder of the photos' bytes for example.
    inherited = {**settings, **plan.inherited}
    plan = replace(plan, inherited=inherited, restores=restores is not None)
    supervisor = Supervisor(plan, say=say)
    try:
        supervisor.__enter__()
    except DirectoryLocked as error:
        raise _Runs(str(error)) from error
    try:
        if restores is not None:
            restores(plan.settings.home)
        supervisor.start_servers()
        yield plan.settings.home, supervisor.environment()
    finally:
        supervisor.stop()


class _Runs(DirectoryLocked):
    """The archive runs."""


def _knows_the_way() -> bool:
    """Return whether our own environment leads to the archive: nothing need be added to it."""
    database = load(DatabaseSettings)
    return "url" in database.model_fields_set and leads_here(database.url.get_secret_value())


def _home() -> Path:
    return load(StandaloneSettings).home
