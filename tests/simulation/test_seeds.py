"""Thousands of schedules: nothing is lost, nothing is applied twice, nothing stands still.

SEED=4711 pytest tests/simulation -k seeds      one run again, with all that happened
SIMULATION_SEEDS=100000 pytest tests/simulation many more
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from standalone.processes.child_process import guarded
from tests.measured import Measured
from tests.simulation.runs import run

REPOSITORY = Path(__file__).parents[2]
SEEDS = 1200
WORKERS = 2


def started(first: int, count: int, **environment: str) -> "subprocess.Popen[str]":
    """A process that simulates these seeds."""
    return subprocess.Popen(
        guarded([sys.executable, "-m", "tests.simulation", str(first), str(count)]),
        cwd=REPOSITORY,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(process: "subprocess.Popen[str]") -> tuple[list[dict[str, str]], str]:
    """What it found, and what it wrote about failures."""
    out, error = process.communicate(timeout=3600)
    return [json.loads(line) for line in out.splitlines()], error


@pytest.mark.timeout(3700)
def test_seeds_of_every_kind_keep_every_invariant(measured: Measured) -> None:
    if "SEED" in os.environ:
        one = run(int(os.environ["SEED"]))
        assert not one.broken, one.told()
        return
    count = int(os.environ.get("SIMULATION_SEEDS", SEEDS))
    share = -(-count // WORKERS)
    processes = [started(first, share) for first in range(0, share * WORKERS, share)]
    found = [told(process) for process in processes]

    runs = [line for lines, _ in found for line in lines]
    measured(f"{len(runs)} seeds simulated")
    assert len(runs) == share * WORKERS, "".join(error for _, error in found)[-8000:]
    broken = [f"SEED={line['seed']}: {line['broken']}" for line in runs if line["broken"]]
    assert not broken, "".join(error for _, error in found)[-20_000:] + "\n".join(broken)


def test_a_seed_is_the_same_run_in_every_process() -> None:
    one, other = (started(20, 12, PYTHONHASHSEED=seed) for seed in ("1", "2"))

    digests = [[line["digest"] for line in told(process)[0]] for process in (one, other)]

    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 12, "and different seeds are different runs"
