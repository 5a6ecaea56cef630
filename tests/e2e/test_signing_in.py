"""From the command line into the page of an archive that runs."""

import httpx

from core.relevance.defaults import DEFAULT_LABELS
from tests.e2e.archive import RunningArchive


def test_a_link_signs_in_and_the_page_is_told_what_runs(archive: RunningArchive) -> None:
    made = archive.json_of(archive.command("link", "--json"))
    address, _, code = made["url"].partition("/#code=")
    assert address == archive.supervisor.ingress_url

    with httpx.Client(
        base_url=address, timeout=60, headers={"Sec-Fetch-Site": "same-origin"}
    ) as http:
        shell = http.get("/")
        begun = http.post("/session", json={"code": code})
        listed = http.get("/images")

    assert "main.js" in shell.text, "lit-html is missing: make page"
    assert begun.status_code == 200, begun.text
    assert listed.status_code == 200
    instance = begun.json()["instance"]
    assert instance["standalone"] is True
    assert instance["is_demo_model"] is True
    assert instance["labels"] == len(DEFAULT_LABELS)
    # What its card says that it cannot know.
    assert set(instance["unknown_labels"]) == {"party", "children", "Victory Day", "veterans"}
