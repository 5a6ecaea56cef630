"""Which route answers does not depend on the order of the table of routes."""

import re
from collections.abc import Iterable

import pytest
from starlette.responses import Response
from starlette.routing import Match

from ingress.app import DESCRIBED, routes_of

AN_ID = "0b9f5f4e-27f2-4d35-9a5c-6d3d8c1b0a11"
TABLE = (
    "/labels/{tag}/photos",
    "/labels/{tag}",
    "/labels/{label_id}",
    "/labels/preview/{part}",
    "/labels/preview",
)


def taken(url: str, paths: Iterable[str]) -> str | None:
    """The path whose route takes a URL, as the document writes it."""
    scope = {"type": "http", "method": "GET", "path": url}
    for route in routes_of({path: Response() for path in paths}):
        if route.matches(scope)[0] is not Match.NONE:
            return route.path.replace(":uuid}", "}")
    return None


def url_of(path: str) -> str:
    return re.sub(r"\{\w+\}", "a-name", re.sub(r"\{\w+_id\}", AN_ID, path))


def test_no_route_is_hidden_by_another_one() -> None:
    paths = [one.path for one in DESCRIBED]

    by = {path: taken(url_of(path), paths) for path in paths}

    assert {path: other for path, other in by.items() if other != path} == {}


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/labels/preview", "/labels/preview"),
        (f"/labels/{AN_ID}", "/labels/{label_id}"),
        ("/labels/cat", "/labels/{tag}"),
        ("/labels/cat/photos", "/labels/{tag}/photos"),
        ("/labels/preview/photos", "/labels/preview/{part}"),
        ("/labels/cat/dog", None),
    ],
)
def test_a_fixed_path_comes_before_an_id_and_an_id_before_a_name(
    url: str, path: str | None
) -> None:
    assert taken(url, TABLE) == path
    assert taken(url, TABLE[::-1]) == path
