"""Kafka's jars in the cache, against the list in the repository."""

import hashlib
import shutil
from pathlib import Path

import pytest

from ingress.reading.statics import LIT_HTML_SHA256
from standalone import lit_html
from standalone.environment import cache_directory
from standalone.failures import DownloadFailed, NotSupported
from standalone.kafka import jars
from standalone.kafka.jars import (
    LOCK_FILE,
    Jar,
    class_path,
    fetch_alone,
    fetch_jars,
    kafka_version,
    parse_lock,
    remove_wrong,
    sha256_of,
)
from standalone.lit_html import fetch_lit_html, lit_html_jar, place_of_lit_html


def test_the_list_holds_the_broker_with_its_own_client_and_a_log_binding() -> None:
    listed = class_path(parse_lock(LOCK_FILE.read_text()))
    names, version = {jar.name for jar in listed}, kafka_version(listed)
    assert len(names) == 46
    assert not any("lit-html" in name for name in names)
    assert f"org.apache.kafka:kafka_2.13:{version}" in names
    assert f"org.apache.kafka:kafka-clients:{version}" in names
    assert "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4" in names


def test_a_file_with_another_content_is_deleted_and_counts_as_missing(tmp_path: Path) -> None:
    good, bad, gone = (Jar("g", name, "1", hashlib.sha256(b"good").hexdigest()) for name in "abc")
    for jar, content in ((good, b"good"), (bad, b"evil")):
        jar.path(tmp_path).parent.mkdir(parents=True)
        jar.path(tmp_path).write_bytes(content)
    assert remove_wrong([good, bad, gone], tmp_path) == (bad, gone)
    assert good.path(tmp_path).exists()
    assert not bad.path(tmp_path).exists()


def test_a_damaged_jar_in_the_cache_is_replaced_by_the_true_one(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    assert kafka_bootstrap  # the cache is full
    shutil.copytree(cache_directory(tmp_path) / "kafka" / "repository", tmp_path / "repository")
    damaged = parse_lock(LOCK_FILE.read_text())[3].path(tmp_path / "repository")
    damaged.write_bytes(b"5byte")
    paths = fetch_jars(tmp_path)
    assert damaged in paths
    assert damaged.stat().st_size > 1000


def test_a_download_that_differs_from_the_list_is_refused_and_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "jars.lock"
    jar = Jar("org.example", "broker", "1", hashlib.sha256(b"true").hexdigest())
    lock.write_text(f"{jar.name} {jar.sha256}\n")

    def download(_jars: object, _cache: Path, repository: Path) -> frozenset[str]:
        jar.path(repository).parent.mkdir(parents=True)
        jar.path(repository).write_bytes(b"changed on the way")
        return frozenset({jar.name})

    monkeypatch.setattr(jars, "_resolve", download)
    with pytest.raises(NotSupported, match=r"org\.example:broker:1 was downloaded with another"):
        fetch_jars(tmp_path / "cache", lock)
    assert not jar.path(tmp_path / "cache" / "repository").exists()


def test_a_jar_of_its_own_comes_without_those_that_it_names_and_stays_off_the_class_path(
    tmp_path: Path,
) -> None:
    fetched = fetch_lit_html(tmp_path)

    assert sha256_of(fetched) == lit_html_jar().sha256 == LIT_HTML_SHA256
    assert [file.name for file in tmp_path.rglob("*.jar")] == [fetched.name]
    assert fetched == place_of_lit_html(tmp_path)


def test_a_jar_of_its_own_that_differs_from_the_list_is_refused_and_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jar = Jar("org.example", "drawing", "1", hashlib.sha256(b"true").hexdigest())

    def download(jar: Jar, repository: Path) -> None:
        jar.path(repository).parent.mkdir(parents=True)
        jar.path(repository).write_bytes(b"changed on the way")

    monkeypatch.setattr(jars, "_download", download)
    with pytest.raises(NotSupported, match=r"org\.example:drawing:1 was downloaded with another"):
        fetch_alone(jar, tmp_path / "cache")
    assert not jar.path(tmp_path / "cache" / "repository").exists()


def test_without_a_network_the_step_says_what_does_not_work_and_how_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def download(jar: Jar, repository: Path) -> None:
        del repository
        raise DownloadFailed(jar.name, OSError("no route to host"))

    monkeypatch.setattr(jars, "_download", download)

    assert lit_html.main([str(tmp_path / "lit.jar")]) == 1
    said = capsys.readouterr().err
    assert "no route to host" in said
    assert "The data is untouched" in said
    assert "carry over the cache" in said
    assert "`make page` tries again" in said
    assert not (tmp_path / "lit.jar").exists()
