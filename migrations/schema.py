"""The database's schema: brought to the newest version."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config


async def upgrade() -> None:
    """Upgrade the database at DATABASE_URL to the newest schema; does nothing if it is there."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    await asyncio.to_thread(command.upgrade, config, "head")
