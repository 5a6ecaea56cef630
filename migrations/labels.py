"""The default labels: put in place where none were ever defined, or taken from a file."""

from pathlib import Path

from pydantic import ValidationError

from core.errors import ConfigurationError
from core.relevance.defaults import DEFAULT_LABELS
from core.settings import DatabaseSettings, load
from core.storage import labels
from core.storage.pool import open_pool
from core.tags import Label
from schemas.labels import LabelSetText


async def define() -> None:
    """Define the 14 default labels, unless the instance has labels already.

    Raises:
        DatabaseAway: PostgreSQL cannot be reached.
    """
    async with open_pool(load(DatabaseSettings)) as pool, pool.transaction() as tx:
        await labels.define_if_absent(tx, DEFAULT_LABELS)


async def take_over(path: Path) -> int:
    """Make the labels in a file the default ones; give their version.

    The file is what `PUT /labels` takes. The tagging process brings the archive up to them.

    Raises:
        ConfigurationError: the file cannot be read or breaks a rule, or replaces another version.
        DatabaseAway: PostgreSQL cannot be reached.
    """
    given = _read(path)
    new = [Label(**label.model_dump()) for label in given.labels]
    async with open_pool(load(DatabaseSettings)) as pool, pool.transaction() as tx:
        version = await labels.redefine(tx, new, expected=given.version)
    if version is None:
        raise ConfigurationError(f"{path}: version {given.version} is not in force any more")
    return version


def _read(path: Path) -> LabelSetText:
    try:
        return LabelSetText.model_validate_json(path.read_bytes(), strict=True)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "/".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{path}: {place}: {first['msg']}") from error
