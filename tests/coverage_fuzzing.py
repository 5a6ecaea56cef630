"""The targets of `tests.fuzzing` under atheris, a fuzzer guided by code coverage.

    python -m tests.coverage_fuzzing [--seconds 60] [--only url]

atheris is not among the requirements: install it (`pip install atheris`; wheels for CPython 3.11 to
3.13 on Linux). Each target runs in a process of its own, since libFuzzer ends the process that it
runs in. The exit code is 1 where a target failed, 2 where atheris is not installed.
"""

import argparse
import logging
import re
import subprocess
import sys
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

#: Modules whose coverage guides the fuzzer. The C parts of Pillow and httpx are not covered.
INSTRUMENTED = ["core", "ingress", "python_multipart", "PIL", "tests.fuzzing"]
MAX_INPUT_BYTES = 4096


def run_target(name: str, arguments: list[str]) -> None:
    """Fuzz one target; this ends the process."""
    import atheris  # type: ignore[import-untyped]  # optional

    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.fuzzing import targets
    logging.disable(logging.WARNING)  # python-multipart logs what is wrong with each body
    warnings.simplefilter("ignore")  # Pillow warns of broken metadata
    seeds, target = targets()[name]
    corpus = Path(arguments.pop())
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    atheris.Setup([sys.argv[0], *arguments, str(corpus)], target)
    atheris.Fuzz()


def fuzz(name: str, seconds: int) -> bool:
    """Run one target in a process of its own and print its result; return whether it passed."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        limits = [f"-max_total_time={seconds}", f"-max_len={MAX_INPUT_BYTES}", "-timeout=10"]
        done = subprocess.run(
            [
                sys.executable, "-m", "tests.coverage_fuzzing", "--target", name,
                *limits, "-print_final_stats=1", f"-artifact_prefix={folder}/", str(corpus),
            ],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )  # fmt: skip
        runs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
        coverage = re.findall(r"cov: (\d+)", done.stderr)
        reached = f"{coverage[0]} → {coverage[-1]}" if coverage else "?"
        failed = [path for path in Path(folder).iterdir() if path.is_file()]
        print(  # noqa: T201
            f"{name}: {runs[1] if runs else '?'} inputs, branches reached {reached},"
            f" {len(failed)} failures"
        )
        if done.returncode:
            print(done.stdout[-2000:] + done.stderr[-2000:])  # noqa: T201
        for path in failed:
            print(f"  {path.name}: {path.read_bytes()[:300]!r}")  # noqa: T201
    return done.returncode == 0


def main() -> int:
    """Run, print, and return the exit code."""
    if sys.argv[1:2] == ["--target"]:
        run_target(sys.argv[2], sys.argv[3:])
    if find_spec("atheris") is None:
        print("atheris is not installed: pip install atheris", file=sys.stderr)  # noqa: T201
        return 2
    from tests.fuzzing import NAMES

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--only", choices=NAMES)
    options = parser.parse_args()
    results = [fuzz(name, options.seconds) for name in ([options.only] if options.only else NAMES)]
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
