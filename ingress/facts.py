"""What is so as long as this process runs: its version, and what the page tells of the archive."""

import tomllib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from core.relevance.defaults import DEFAULT_LABELS
from core.settings import DecodeSettings, StandaloneSettings, TaggingSettings, load
from core.vision.demo_card import seen_labels


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """What is so as long as the process runs, and the page tells.

    Attributes:
        scoring: how the tagging processes score, as `TAGGING_SCORING` says.
        unseen: those of the default labels of which the bundled model has seen no picture.
    """

    is_standalone: bool
    scoring: Literal["softmax", "sigmoid", "threshold"]
    max_pixels: int
    unseen: frozenset[str]


def read_facts() -> InstanceFacts:
    """Return what settings and the bundled model's figures say.

    Raises:
        ConfigurationError: a setting cannot be worked with.
    """
    names = {label.name for label in DEFAULT_LABELS}
    return InstanceFacts(
        # The supervisor tells its processes where the standalone mode lives.
        is_standalone="home" in load(StandaloneSettings).model_fields_set,
        scoring=load(TaggingSettings).scoring,
        max_pixels=load(DecodeSettings).max_pixels,
        unseen=frozenset(names - seen_labels()),
    )


def model_name(settings: TaggingSettings) -> str:
    """Return the name of the model that the settings ask for."""
    if settings.model == "demo" or settings.model.startswith("local-dir:"):
        return settings.model
    return f"{settings.model}/{settings.pretrained}"


def version_of_project() -> str:
    """Return the release of this process."""
    try:
        return version("photo-archive")
    except PackageNotFoundError:  # run from a checkout that was not installed
        project = Path(__file__).parents[1] / "pyproject.toml"
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
