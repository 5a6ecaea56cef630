"""What an archive on this machine is made of. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.settings import StandaloneSettings
from standalone.kafka.membership import ALONE
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
        certificate: the file by which the ingress speaks TLS; None: it speaks plain http.
        standby: whether PostgreSQL has a standby, which takes a dead primary's place.
        roles: the processes to run; those of the project when omitted.
        restores: whether a backup is being restored, so that the home need not be whole.
        brokers: of how many brokers Kafka is.
    """

    settings: StandaloneSettings
    cache: Path
    model: ModelChoice
    secrets_key: str
    archive_roots: str
    inherited: Mapping[str, str]
    chosen: frozenset[str] = frozenset()
    certificate: Path | None = None
    watched: Path | None = None
    standby: bool = False
    roles: tuple[ProcessSpec, ...] | None = None
    restores: bool = False
    brokers: int = ALONE
