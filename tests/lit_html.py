"""The file that the page is drawn with, as `make test` fetches it."""

from functools import cache
from pathlib import Path

from core.settings import StandaloneSettings
from standalone.environment import cache_directory
from standalone.lit_html import fetch_lit_html


@cache
def lit_html_jar() -> Path:
    """Return the file in the cache that demo and tests share; fetch it where it is missing."""
    return fetch_lit_html(cache_directory(StandaloneSettings(_env_file=None).home))
