"""What an archive on this machine is made of. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import ConfigurationError
from core.settings import StandaloneSettings
from standalone.supervision.model_choice import ModelChoice
from standalone.supervision.roles import ProcessSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class StandalonePlan:
    """The archive to run.

    Attributes:
        settings: those of the standalone mode.
        cache: the folder of jars and AOT caches.
        model: the model that the tagging processes load.
        secrets_key: the value of `SECRETS_KEY`.
        archive_roots: the value of `ARCHIVE_ROOTS`.
        watched: a folder whose new photos are announced; None: none.
        inherited: variables that all processes get beside those of the plan.
        chosen: the settings that the user has set.
        roles: the processes to run; those of the project when omitted.
    """

    settings: StandaloneSettings
    cache: Path
    model: ModelChoice
    secrets_key: str
    archive_roots: str
    inherited: Mapping[str, str]
    chosen: frozenset[str] = frozenset()
    watched: Path | None = None
    roles: tuple[ProcessSpec, ...] | None = None


def with_roots(plan: StandalonePlan, roots: Mapping[str, Path]) -> StandalonePlan:
    """Return the plan with more folders that may be read.

    Raises:
        ConfigurationError: a name is used for two folders.
    """
    parts = [part for part in plan.archive_roots.split(";") if part.strip()]
    known = {part.partition("=")[0].strip() for part in parts}
    if twice := known & set(roots):
        raise ConfigurationError(f"ARCHIVE_ROOTS already has {', '.join(sorted(twice))}")
    parts += [f"{name}={path.resolve()}" for name, path in roots.items()]
    return replace(plan, archive_roots=";".join(parts))
