"""The choice of the model in the standalone mode: real weights where they can be had."""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from core import weights

REAL_MODEL = "ViT-B-32"
DEMO_MODEL = "demo"
REPOSITORY = "timm/vit_base_patch32_clip_224.openai"  # open_clip's ViT-B-32 / openai on the hub
HUB_PATIENCE_S = 3.0
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A value for `TAGGING_MODEL`, and why it was chosen.

    `may_fail` is true where the weights are still to be downloaded: the demo model replaces them if
    that fails.
    """

    model: str
    reason: str
    may_fail: bool = False


def choose_model(
    wanted: str,
    *,
    is_cached: Callable[[], bool],
    is_offline: Callable[[], bool],
    ask_hub: Callable[[], int | None],
) -> ModelChoice:
    """Return what was asked for, else cached weights, else the hub's, else the demo model.

    Args:
        wanted: the user's `MODEL` or `TAGGING_MODEL`; empty: choose.
        is_cached: returns whether the real weights are on this machine.
        is_offline: returns whether asking a hub is forbidden.
        ask_hub: returns the size of the weights in bytes, or None where no hub answers in time.
    """
    if wanted:
        return ModelChoice(wanted, "asked for")
    if is_cached():
        return ModelChoice(REAL_MODEL, "its weights are on this machine")
    forbidden = is_offline()
    size_bytes = None if forbidden else ask_hub()
    if size_bytes is not None:
        size = f"{size_bytes / MIB:.0f} MiB, once" if size_bytes else "once"
        return ModelChoice(REAL_MODEL, f"its weights are being downloaded ({size})", may_fail=True)
    why = (
        "HF_HUB_OFFLINE forbids asking a hub"
        if forbidden
        else f"no hub answered within {HUB_PATIENCE_S:.0f} s"
    )
    return ModelChoice(
        DEMO_MODEL,
        f"bundled with this project, weaker: the weights of {REAL_MODEL} are not on this machine "
        f"and {why}",
    )


def is_cached() -> bool:
    """Return whether the weights are in the hub's cache. Nothing is downloaded."""
    return weights.cached(REPOSITORY, weights.WEIGHTS) is not None


def ask_hub() -> int | None:
    """Return the size of the weights on the hub in bytes (0: unknown); None: no answer in 3 s."""
    answer: list[int] = []
    thread = threading.Thread(target=_ask, args=(answer,), name="hub", daemon=True)
    thread.start()
    thread.join(HUB_PATIENCE_S)  # looking up a name has no time limit of its own
    return answer[0] if answer else None


def _ask(answer: list[int]) -> None:
    with suppress(weights.WeightsMissing):
        answer.append(weights.ask(REPOSITORY, weights.WEIGHTS, HUB_PATIENCE_S).size_bytes or 0)
