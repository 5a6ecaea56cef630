"""Quantised models and their accuracy checks, kept between starts."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from core.vision.engines.agreement import Agreement

_GRAPH, _VERDICT = "model.onnx", "verdict.json"


@dataclass(frozen=True, slots=True)
class Quantised:
    """A quantised model and how well it agrees with the one that it was made from.

    Attributes:
        graph: the file; it exists only where `agreement` has no problem.
        agreement: the gate's figures.
    """

    graph: Path
    agreement: Agreement


class EngineCache:
    """A folder with one subfolder per model, processor and version of everything involved.

    Refusals are kept too, since each start would otherwise need half a minute for the same result.
    Graph and verdict appear in one step, so that a process that is killed while it builds, or two
    that build at once, leave nothing incomplete.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.expanduser()

    def find(self, key: str) -> Quantised | None:
        """Return the entry of a key; None where there is none, or it is damaged."""
        entry = self._folder / key
        try:
            kept_verdict = json.loads((entry / _VERDICT).read_text(encoding="utf-8"))
            agreement = Agreement(**kept_verdict["agreement"])
            if agreement.problem is None and _sha256(entry / _GRAPH) != kept_verdict["sha256"]:
                return None
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return Quantised(entry / _GRAPH, agreement)

    def make(self, key: str, build: Callable[[Path, Path], Agreement]) -> Quantised:
        """Build and keep; return what another process kept meanwhile, if it was quicker.

        Args:
            key: a name for files.
            build: writes the graph to the path given first, with a scratch folder given second,
                and gives the verdict.

        Raises:
            OSError: the folder cannot be written to.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        # in the same folder, since a rename is one step within a file system only
        scratch = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=self._folder))
        try:
            fresh = scratch / "entry"
            fresh.mkdir()
            agreement = build(fresh / _GRAPH, scratch)
            self._seal(fresh, agreement)
            return self._publish(key, fresh)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    @staticmethod
    def _seal(entry: Path, agreement: Agreement) -> None:
        graph = entry / _GRAPH
        kept_verdict = {"agreement": asdict(agreement), "sha256": _sha256(graph)}
        (entry / _VERDICT).write_text(json.dumps(kept_verdict, indent=2), encoding="utf-8")
        if agreement.problem is not None:
            graph.unlink()

    def _publish(self, key: str, fresh: Path) -> Quantised:
        kept = self._folder / key
        try:
            os.rename(fresh, kept)  # noqa: PTH104  # refuses a full folder, and that is wanted
        except OSError:
            if self.find(key) is None:  # not another process's entry, so it is damaged
                shutil.rmtree(kept, ignore_errors=True)
                os.rename(fresh, kept)  # noqa: PTH104
        found = self.find(key)
        if found is None:
            raise OSError(f"{kept}: what was written there cannot be read")
        return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
