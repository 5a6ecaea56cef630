"""The database's schema: brought to the newest version."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from core.errors import ConfigurationError


async def upgrade() -> None:
    """Upgrade the database at DATABASE_URL to the newest schema; does nothing if it is there.

    Raises:
        ConfigurationError: DATABASE_URL is wrong, or its database cannot be upgraded.
        DatabaseAway: PostgreSQL cannot be reached.
    """
    try:
        await asyncio.to_thread(command.upgrade, _config(), "head")
    except CommandError as error:
        raise ConfigurationError(str(error)) from error


def newest() -> str:
    """Return the revision of the schema that this version of the archive works with."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config
