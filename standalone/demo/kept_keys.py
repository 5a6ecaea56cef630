"""The keys that the home keeps for whoever runs the archive, made by the command as any other."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from standalone.demo.archive_client import ArchiveFailed
from standalone.files import write_private
from standalone.processes.policy import CONFIGURATION_EXIT
from standalone.supervision.role_keepers import PROJECT

#: Installed beside the Python that runs us.
COMMAND = str(Path(sys.executable).with_name("photo-archive"))
OWNER = "demo"
DEMO, ADMIN = "demo", "admin"
#: The scopes of the keys that the home keeps, by the beginning of their file's name.
KEPT = {DEMO: "upload,query,read,paths", ADMIN: "admin"}
TRIES = 3
LOOK_S = 1.0  # between two looks whether to go on waiting


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key for requests, and the secret that signs the callbacks of its owner."""

    key: str
    signing_secret: str


def credentials(
    home: Path, environment: Mapping[str, str], check: Callable[[], object] = lambda: None
) -> Credentials:
    """Return the demo's key: the one kept in the home, else a new one.

    Args:
        home: of the standalone mode.
        environment: of commands.
        check: is called each second; what it raises ends the waiting.

    Raises:
        ArchiveFailed: no key could be made; the message has the command's output.
    """
    return _kept_keys(home, environment, check, (DEMO,))[DEMO]


def both_keys(
    home: Path, environment: Mapping[str, str], check: Callable[[], object] = lambda: None
) -> tuple[Credentials, str]:
    """Return the demo's key and one that may do everything; takes and raises as `credentials`."""
    kept = _kept_keys(home, environment, check, (DEMO, ADMIN))
    return kept[DEMO], kept[ADMIN].key


def admin_key(home: Path, environment: Mapping[str, str]) -> str:
    """Return a key that may do everything: the one kept in the home, else a new one.

    Raises:
        ArchiveFailed: no key could be made; the message has the command's output.
    """
    return both_keys(home, environment)[1]


def _kept_keys(
    home: Path,
    environment: Mapping[str, str],
    check: Callable[[], object],
    names: Sequence[str],
) -> dict[str, Credentials]:
    """Return these keys. What is missing is made side by side: it is mostly Python's start."""
    paths = {name: home / f"{name}-key.json" for name in names}
    made: dict[str, dict[str, Any]] = {
        name: json.loads(path.read_text(encoding="utf-8"))
        for name, path in paths.items()
        if path.exists()
    }
    missing = [name for name in names if name not in made]
    if missing:
        command = partial(_command, environment, check)
        with ThreadPoolExecutor(max_workers=len(missing)) as pool:
            answers = pool.map(lambda name: command("create", "--scopes", KEPT[name]), missing)
            made |= zip(missing, answers, strict=True)
        # The owner's first key tells it, whichever that was; a try that was cut off told nobody.
        told = [one["signing_secret"] for one in made.values() if one["signing_secret"]]
        secret = told[0] if told else command("signing-secret")["signing_secret"]
        for name in missing:
            made[name]["signing_secret"] = secret
            text = json.dumps({"key": made[name]["key"], "signing_secret": secret})
            write_private(paths[name], text)
    return {name: Credentials(one["key"], one["signing_secret"]) for name, one in made.items()}


def _command(
    environment: Mapping[str, str], check: Callable[[], object], *words: str
) -> dict[str, Any]:
    """Return what `photo-archive keys` answers; where PostgreSQL is too slow, it is tried again.

    There is no time limit but the command's own ones: on a busy machine Python's start alone has
    taken more than a minute.
    """
    argv = [COMMAND, "keys", *words, "--owner", OWNER, "--json"]
    for _ in range(TRIES):
        code, told, complaint = _run(argv, environment, check)
        if code == 0:
            answer: dict[str, Any] = json.loads(told)
            return answer
        if code == CONFIGURATION_EXIT:
            break
    raise ArchiveFailed(f"photo-archive {' '.join(argv[1:])}: {complaint.strip()}")


def _run(
    argv: Sequence[str], environment: Mapping[str, str], check: Callable[[], object]
) -> tuple[int, str, str]:
    """Run a command to its end; return its exit code and what it wrote."""
    with subprocess.Popen(
        argv,
        cwd=PROJECT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            while True:
                check()
                try:
                    told, complaint = process.communicate(timeout=LOOK_S)
                except subprocess.TimeoutExpired:
                    continue
                return process.returncode, told, complaint
        except BaseException:
            process.kill()
            raise
