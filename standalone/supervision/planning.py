"""Makes the plan of an archive from settings, the model, the key and the folders."""

import base64
import os
import secrets
from dataclasses import replace
from pathlib import Path

from core.errors import ConfigurationError
from core.settings import (
    GROUPS,
    ArchiveSettings,
    DatabaseSettings,
    EgressSettings,
    IngressSettings,
    KafkaSettings,
    SecretSettings,
    Settings,
    StandaloneSettings,
    TaggingSettings,
    load,
    variables,
)
from core.weights import is_offline, named_file
from standalone.environment import cache_directory
from standalone.files import write_private
from standalone.kafka.membership import ALONE, CLUSTER, SIZES, size_of
from standalone.privacy import make_home
from standalone.remembered_roots import FILE_NAME, place_of, with_folder, with_remembered
from standalone.supervision.model_choice import ModelChoice, ask_hub, choose_model, is_cached
from standalone.supervision.plan import StandalonePlan

KEY_BYTES = 32
WATCHED_ROOT = "watched"
#: Of what the roles are given by us, whatever the environment says.
_GIVEN: tuple[type[Settings], ...] = (DatabaseSettings, KafkaSettings, SecretSettings)


def check_settings() -> None:
    """Check what the roles will read, before minutes are spent on their servers.

    Raises:
        ConfigurationError: a setting is invalid, or the certificate or its key cannot be read.
    """
    for group in GROUPS:
        if group not in _GIVEN:
            load(group)
    load(IngressSettings).check_certificate()


def make_plan(
    *, model: str = "", watched: Path | None = None, brokers: int | None = None
) -> StandalonePlan:
    """Return the plan for this machine; create the home.

    Args:
        model: `MODEL` or an open_clip name; empty: the settings', or chosen.
        watched: a folder to be watched; becomes an allowed root.
        brokers: of how many brokers Kafka is to be; None: as the home was made, else one.

    Raises:
        ConfigurationError: a setting is invalid; the message names it.
    """
    settings = load(StandaloneSettings)
    check_settings()
    make_home(settings.home)
    if watched is not None and not watched.is_dir():
        raise ConfigurationError(f"{watched} is not a folder")
    plan = StandalonePlan(
        settings=settings,
        cache=cache_directory(settings.home),
        model=_model(model),
        secrets_key=_secrets_key(settings.home),
        archive_roots=_roots(settings.home),
        watched=watched,
        inherited=_inherited(),
        chosen=_chosen_settings(),
        certificate=load(IngressSettings).ssl_certfile,
        brokers=_brokers(settings.home, brokers),
    )
    return plan if watched is None else allow(plan, watched, WATCHED_ROOT)


def allow(plan: StandalonePlan, folder: Path, name: str) -> StandalonePlan:
    """Return the plan with a folder that may be read.

    Args:
        plan: the plan so far; where it has the folder, it stays as it is.
        folder: the folder.
        name: of its root, where no other folder has it.

    Raises:
        ConfigurationError: `ARCHIVE_ROOTS` cannot say its path.
    """
    if place_of(plan.archive_roots, folder) is not None:
        return plan
    return replace(plan, archive_roots=with_folder(plan.archive_roots, folder, name))


def _brokers(home: Path, wanted: int | None) -> int:
    """Return of how many brokers Kafka is; a home keeps the number that it was made with.

    Raises:
        ConfigurationError: another one is wanted; or one that no cluster is made of.
    """
    made = size_of(home)
    if wanted not in (None, *SIZES):
        raise ConfigurationError(f"--brokers: 1 or {CLUSTER} (got {wanted})")
    if made is None or wanted in (None, made):
        return made or wanted or ALONE
    raise ConfigurationError(
        f"--brokers: {home} was made with {made} and keeps that: its records lie there. Leave the"
        f" option out; or take the archive into a home made with {wanted}: photo-archive backup"
        " FOLDER, then, in a terminal that has not read env.sh and with another STANDALONE_HOME,"
        f" photo-archive servers --brokers {wanted}, Ctrl-C when they are up, and photo-archive"
        " restore --new-kafka FOLDER"
    )


def _roots(home: Path) -> str:
    try:
        return with_remembered(home, load(ArchiveSettings).roots)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{home / FILE_NAME}: {error}; remove it") from error


def _inherited() -> dict[str, str]:
    """Return our environment; the processes, which run elsewhere, get our relative path whole."""
    pretrained = os.environ.get("TAGGING_PRETRAINED", "")
    try:
        file = named_file(pretrained)
    except ConfigurationError:
        return dict(os.environ)  # whoever needs it says so
    return {**os.environ, **({"TAGGING_PRETRAINED": str(file.absolute())} if file else {})}


def _model(wanted: str) -> ModelChoice:
    tagging = load(TaggingSettings)
    if not wanted and "model" in tagging.model_fields_set:
        wanted = tagging.model
    if not wanted and "pretrained" in tagging.model_fields_set:
        return _with_weights(tagging)
    return choose_model(wanted, is_cached=is_cached, is_offline=is_offline, ask_hub=ask_hub)


def _with_weights(tagging: TaggingSettings) -> ModelChoice:
    """Return the model for weights that were named, without a model: no other replaces them.

    Raises:
        ConfigurationError: they are a file that is not there. The tagging process says the rest.
    """
    named_file(tagging.pretrained)
    return ModelChoice(tagging.model, f"with TAGGING_PRETRAINED={tagging.pretrained}, as asked for")


def _secrets_key(home: Path) -> str:
    """Return the user's key, else the one that the first start made and the home keeps."""
    given = load(SecretSettings).key.get_secret_value()
    if given:
        return given
    path = home / "secrets.key"
    if not path.exists():
        write_private(path, base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode())
    return path.read_text().strip()


def _chosen_settings() -> frozenset[str]:
    """Return the variables that the user has set, in the environment or in `.env`.

    Only of the groups for which this mode has defaults of its own.
    """
    return frozenset(
        variables(type(group))[name]
        for group in (load(EgressSettings), load(IngressSettings), load(TaggingSettings))
        for name in group.model_fields_set
    )
