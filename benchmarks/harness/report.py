"""The output of every benchmark: versions, the machine, tables, and one line per goal."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import quantiles

import psutil

PACKAGES = (
    "aiokafka",
    "asyncpg",
    "torch",
    "onnxruntime",
    "open-clip-torch",
    "pillow",
    "starlette",
    "spacy",
)


def print_machine() -> None:
    """Print the machine and the versions that the figures were measured with."""
    memory = psutil.virtual_memory().total / 2**30
    print(f"machine: {os.cpu_count()} cores, {_processor()}, {memory:.0f} GiB, no GPU used")
    print(f"python {platform.python_version()}, {platform.system()} {platform.release()}")
    print("packages: " + ", ".join(f"{name} {version(name)}" for name in PACKAGES))
    print(f"load when begun: {os.getloadavg()[0]:.1f} (read ratios where it is not near 0)")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile, `share` in 0..1; nan for fewer than two values."""
    if len(values) < 2:
        return float("nan")
    return quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]


def goal(name: str, figure: float, bound: float, *, unit: str, at_most: bool) -> bool:
    """Print a goal's line; return whether it was met."""
    met = figure <= bound if at_most else figure >= bound
    sign = "≤" if at_most else "≥"
    said = "met" if met else "missed"
    print(f"goal {name}: {figure:.3g} {unit} (goal {sign} {bound:g} {unit}) {said}")
    return met


@dataclass(frozen=True, slots=True)
class Waits:
    """How long each of a run's webhooks waited.

    Attributes:
        name: of the run.
        seconds: one wait each.
        missing: webhooks that never came.
    """

    name: str
    seconds: Sequence[float]
    missing: int

    def ms(self, share: float) -> float:
        """Return a percentile in milliseconds."""
        return percentile(self.seconds, share) * 1000
