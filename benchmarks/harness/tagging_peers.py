"""clip-retrieval and infinity on the same files with the same weights, in their own environments.

Both pin older packages than ours, so each has a virtual environment below one folder, which is
created if it is missing and creation is allowed. A worker in it answers requests over a pipe; its
start and the loading of the model are not timed.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import psutil
import torch

from benchmarks.harness.tagging_lines import Embeddings

INSTALL_TIMEOUT_S = 1200
WORKERS = Path(__file__).parents[1] / "peers"
# clip-anytorch imports pkg_resources, which newer setuptools lack; infinity's extras omit aiohttp
REQUIREMENTS = {
    "clip-retrieval": ("clip-retrieval==2.45.0", "setuptools<81"),
    "infinity": ("infinity_emb[torch,vision,server]==0.0.77", "aiohttp"),
}
PYTHON = "3.11"  # numpy 1.26 and pyarrow 15 have wheels for it


class PeerAway(Exception):
    """A peer cannot be measured here; the message says why."""


@dataclass(frozen=True, slots=True)
class PeerProcess:
    """A worker that has loaded its model."""

    process: subprocess.Popen[str]
    folder: Path
    version: str

    @property
    def measured(self) -> psutil.Process:
        """Return the process whose CPU time counts, with that of its children."""
        return psutil.Process(self.process.pid)

    async def encode(self, files: Sequence[Path]) -> Embeddings:
        """Return the unit vectors of the files, in order."""
        return await asyncio.to_thread(self._ask, files)

    def _ask(self, files: Sequence[Path]) -> Embeddings:
        output = self.folder / "rows.npy"
        request = {"files": [str(file) for file in files], "output": str(output)}
        _send(self.process, request)
        _receive(self.process)
        rows: Embeddings = np.load(output)
        return rows


@contextmanager
def open_peer(
    name: str, environments: Path, model: str, weights: Path, *, may_install: bool
) -> Iterator[PeerProcess]:
    """Start a peer with the given model.

    Raises:
        PeerAway: it is missing and may not be installed, or its installation or start failed.
    """
    python = environments / name / "bin" / "python"
    if not python.exists():
        if not may_install:
            raise PeerAway(f"not installed in {environments.name}/{name}, and --peers is not given")
        _install(name, environments / name)
    folder = weights.parent / name
    folder.mkdir()
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            [str(python), *_arguments(name, model, weights, folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        with process:
            try:
                _wait_until_ready(process, folder / "log")
                yield PeerProcess(process, folder, REQUIREMENTS[name][0])
            finally:
                process.terminate()


def _install(name: str, environment: Path) -> None:
    uv = Path(sys.prefix) / "bin" / "uv"
    print(f"installing {name} for the comparison (some gigabytes)…", flush=True)
    for command in (
        [str(uv), "venv", "--quiet", "--python", PYTHON, str(environment)],
        [str(uv), "pip", "install", "--quiet", "--python", str(environment), *REQUIREMENTS[name]],
    ):
        try:
            subprocess.run(
                command, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S
            )
        except subprocess.CalledProcessError as error:
            raise PeerAway(f"does not install: {_last_line(error.stderr)}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PeerAway(f"does not install: {error}") from error


def _arguments(name: str, model: str, weights: Path, folder: Path) -> list[str]:
    script = str(WORKERS / f"{name.replace('-', '_')}_worker.py")
    if name == "clip-retrieval":
        return [script, model, str(weights), str(torch.get_num_threads())]
    config = open_clip.get_model_config(model)
    bpe = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    return [script, json.dumps(config), str(weights), str(bpe), str(folder / "model")]


def _wait_until_ready(process: subprocess.Popen[str], log: Path) -> None:
    try:
        _receive(process)
    except PeerAway as error:
        raise PeerAway(f"does not start: {_last_line(log.read_text())}") from error


def _send(process: subprocess.Popen[str], request: Mapping[str, object]) -> None:
    if process.stdin is None:
        raise PeerAway("has no pipe")
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()


def _receive(process: subprocess.Popen[str]) -> None:
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise PeerAway("ended")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
