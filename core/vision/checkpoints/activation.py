"""Which activation a file of weights wants: QuickGELU or GELU.

open_clip names two configurations for one architecture, `ViT-B-32` and `ViT-B-32-quickgelu`. With
the wrong one weights load without a word and give wrong embeddings.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ConfigurationError
from core.vision.checkpoints import published
from core.vision.checkpoints.published import Published
from core.vision.importing import import_open_clip

QUICK, AFFIRMED = "-quickgelu", "-gelu"
#: The key in the metadata of a .safetensors file, and its two values.
KEY = "activation"
VALUES = {"quick_gelu": True, "gelu": False}
_LENGTH = struct.Struct("<Q")
_MAX_HEADER_BYTES = 100_000_000  # as in the format's own implementation


@dataclass(frozen=True, slots=True)
class Architecture:
    """What `TAGGING_MODEL` says of an architecture.

    Attributes:
        plain: its name in open_clip, without `-quickgelu`.
        has_twin: whether there are two, one with each activation.
        quick_gelu: which of them was meant; None where the name leaves it open.
    """

    plain: str
    has_twin: bool
    quick_gelu: bool | None

    def name(self, *, quick_gelu: bool) -> str:
        """Return the name in open_clip."""
        return f"{self.plain}{QUICK}" if quick_gelu and self.has_twin else self.plain


def architecture(model: str) -> Architecture | None:
    """Return what a name means; None where open_clip has no such architecture.

    `NAME-gelu` affirms that plain GELU is meant; open_clip itself knows only `NAME`.
    """
    names = set(import_open_clip().list_models())
    model = model.replace("/", "-")  # ViT-B/32, as openai writes it
    for suffix, quick_gelu in ((QUICK, True), (AFFIRMED, False)):
        plain = model.removesuffix(suffix)
        if plain != model and {plain, f"{plain}{QUICK}"} <= names:
            return Architecture(plain, has_twin=True, quick_gelu=quick_gelu)
    if model not in names:
        return None
    return Architecture(model, has_twin=f"{model}{QUICK}" in names, quick_gelu=None)


def settled(asked: Architecture, whose: str, *, wanted: bool | None) -> str:
    """Return open_clip's name of the architecture with the activation that the weights want.

    Args:
        asked: what the name says.
        whose: the weights, for a message.
        wanted: what is known of the weights: with QuickGELU or not; None: nothing.

    Raises:
        ConfigurationError: the two contradict each other, or neither says.
    """
    if not asked.has_twin:
        return asked.plain
    quick, plain = f"{asked.plain}{QUICK}", f"{asked.plain}{AFFIRMED}"
    if asked.quick_gelu is None and wanted is None:
        raise ConfigurationError(
            f"TAGGING_MODEL={asked.plain}: nothing in {whose} says whether it was trained with"
            f" QuickGELU (openai's, MetaCLIP's, DFN's) or with GELU (LAION's, DataComp's), and the"
            f" wrong one gives wrong tags. Set TAGGING_MODEL={quick} or TAGGING_MODEL={plain}"
        )
    if None not in (asked.quick_gelu, wanted) and asked.quick_gelu != wanted:
        right, name = ("QuickGELU", quick) if wanted else ("GELU", plain)
        raise ConfigurationError(
            f"TAGGING_MODEL: {whose} was trained with {right}: set TAGGING_MODEL={name}"
        )
    return asked.name(quick_gelu=bool(wanted if asked.quick_gelu is None else asked.quick_gelu))


def known(file: Path) -> Published | None:
    """Return which published weights a file holds, recognised by its hash."""
    sha256 = published.sha256_of(file)
    return published.by_hash(sha256) or _of_a_release(sha256)


def _of_a_release(sha256: str) -> Published | None:
    """Return which weights of open_clip's own releases these are.

    The names of those files end with the first eight digits of their hash.
    """
    open_clip = import_open_clip()
    for name, tag in open_clip.list_pretrained():
        config = open_clip.get_pretrained_cfg(name, tag)
        url = config.get("url", "")
        digits = url.rpartition("-")[2].partition(".")[0]
        if "mlfoundations" in url and len(digits) == 8 and sha256.startswith(digits):
            plain = name.removesuffix(QUICK)
            return Published(plain, tag, quick_gelu=bool(config.get("quick_gelu")))
    return None


def metadata(file: Path) -> dict[str, Any]:
    """Return the metadata in the header of a .safetensors file; of others nothing."""
    if file.suffix != ".safetensors":
        return {}
    try:
        with file.open("rb") as opened:
            (size,) = _LENGTH.unpack(opened.read(_LENGTH.size))
            header = json.loads(opened.read(size)) if size <= _MAX_HEADER_BYTES else {}
        found = header.get("__metadata__", {})
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError, AttributeError, RecursionError, struct.error):
        return {}  # whoever loads it says what is wrong with it


def noted(file: Path) -> bool | None:
    """Return what a file says itself, in its metadata: QuickGELU or not; None: nothing."""
    return VALUES.get(str(metadata(file).get(KEY)))
