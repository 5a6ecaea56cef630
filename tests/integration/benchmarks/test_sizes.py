"""The benchmark of the room that photos, queries and events take."""

import re
import subprocess
import sys

from tests.servers import REPOSITORY


def test_it_prints_bytes_of_a_photo_of_a_query_and_of_their_events() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sizes", "--photos", "256", "--queries", "64"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    for table in ("images", "tagged_images", "image_tags", "embeddings", "deliveries", "attempts"):
        assert re.search(rf"\b{table}\b", done.stdout), table
    told = re.findall(r"Kafka (\S+): (\d+) bytes a record in batches of 5, (\d+)", done.stdout)
    assert {topic for topic, _, _ in told} == {
        "images.arrived.v1",
        "images.tagged.v1",
        "queries.submitted.v1",
        "callbacks.requested.v1",
    }
    assert all(20 < int(many) < int(few) < 5_000 for _, few, many in told), told
