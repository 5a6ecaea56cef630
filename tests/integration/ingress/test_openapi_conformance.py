"""The running process keeps to its own OpenAPI document: schemathesis asks, all checks, all phases.

Generated requests, valid and invalid, single and in chains (an upload, its status, its content);
nothing may end in a 5xx, an undocumented status, type or shape, a refusal of what the document
allows or an acceptance of what it forbids. `generated_requests.py` helps it to real photos.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.pictures import jpeg
from tests.integration.ingress.conftest import REPOSITORY, Running
from tests.integration.ingress.test_server import make_key
from tests.measured import Measured

HERE = Path(__file__).parent
ALL_SCOPES = "upload,query,read,paths,admin"
#: The document's lengths are the most that can be set; no other limit may come in between.
WIDE = {
    "INGRESS_REQUESTS_PER_SECOND": "100000",
    "QUERY_MAX_CHARS": "10000",
    "INGRESS_WAIT_FOR_TAGS_S": "0.1",
}


def schemathesis(document: str, *options: str, report: Path) -> tuple[dict[str, Any], str]:
    """What it found, and what it printed."""
    done = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli",
            "--config-file", str(HERE / "schemathesis.toml"),
            "run", document, "--checks", "all", "--seed", "20260501", "--no-color",
            "--report-json-path", str(report), "--generation-database", "none", *options,
        ],
        cwd=report.parent,  # it writes its folders where it runs
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "SCHEMATHESIS_HOOKS": "tests.integration.ingress.generated_requests",
        },
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert report.exists(), done.stdout + done.stderr
    return json.loads(report.read_text()), done.stdout


@pytest.mark.parametrize(
    ("bound", "least_cases"),
    [
        # By number, not by time: on a busy machine all operations are still to be asked.
        ("--max-examples=4", 250),
        pytest.param("--max-time=240", 1500, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_every_answer_is_one_that_the_document_describes(
    kafka: str,
    start: Callable[..., Running],
    tmp_path: Path,
    measured: Measured,
    bound: str,
    least_cases: int,
) -> None:
    folder = tmp_path / "photos" / "2024"
    folder.mkdir()
    for name in ("parade.jpg", "lunch.jpg"):  # the document's examples
        (folder / name).write_bytes(jpeg(1))
    server, key = start(**WIDE), make_key(ALL_SCOPES)

    found, said = schemathesis(
        f"{server.url}/openapi.json",
        "--header", f"X-API-Key: {key}", bound, "--continue-on-failure",
        report=tmp_path / "found.json",
    )  # fmt: skip

    cases, operations = found["test_cases"], found["operations"]
    measured(
        f"{cases['generated']} requests to {operations['tested']} operations in"
        f" {found['running_time']:.0f} s; {cases['unique_failures']} failures"
    )
    assert found["failures"] == [], said
    assert found["errors"] == [], said
    assert operations["tested"] == operations["total"] > 25
    assert {phase["status"] for phase in found["phases"].values()} == {"success"}
    assert cases["generated"] >= least_cases


def test_a_document_that_does_not_describe_the_answers_is_found_out(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    server, key = start(**WIDE), make_key(ALL_SCOPES)
    document = httpx.get(f"{server.url}/openapi.json").json()
    document["components"]["schemas"]["TagStatistics"]["required"].append("not_there")
    del document["paths"]["/stats"]["get"]["responses"]["422"]
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(document))

    found, _ = schemathesis(
        str(wrong),
        "--url", server.url, "--header", f"X-API-Key: {key}", "--phases", "coverage",
        "--include-path-regex", "^/(tags|stats)$",
        report=tmp_path / "found.json",
    )  # fmt: skip

    kinds = {(one["type"], *one["operations"]) for one in found["failures"]}
    assert ("JsonSchemaError", "GET /tags") in kinds
    assert ("UndefinedStatusCode", "GET /stats") in kinds
