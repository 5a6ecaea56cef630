"""The cache of engines between starts: entries are complete or absent."""

from pathlib import Path
from threading import Barrier, Thread

import pytest

from core.vision.engines.agreement import Agreement
from core.vision.engines.engine_cache import EngineCache, Quantised

GOOD = Agreement(240, 0.9999, 1.0)
BAD = Agreement(240, 0.9, 1.0)


def build_good(graph: Path, _scratch: Path) -> Agreement:
    graph.write_bytes(b"a graph")
    return GOOD


def never(_graph: Path, _scratch: Path) -> Agreement:
    raise AssertionError("built again")


def test_a_graph_is_built_once(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "engines")
    assert cache.find("key") is None
    made = cache.make("key", build_good)
    again = EngineCache(tmp_path / "engines").find("key")
    assert made == again == Quantised(tmp_path / "engines" / "key" / "model.onnx", GOOD)
    assert made.graph.read_bytes() == b"a graph"
    assert cache.find("another key") is None


def test_a_refusal_is_kept_and_its_graph_is_not(tmp_path: Path) -> None:
    def build_bad(graph: Path, _scratch: Path) -> Agreement:
        build_good(graph, _scratch)
        return BAD

    cache = EngineCache(tmp_path)
    made = cache.make("key", build_bad)
    assert made.agreement == BAD
    assert not made.graph.exists()
    assert cache.find("key") == made


def test_a_spoilt_graph_is_built_anew(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    cache.make("key", build_good).graph.write_bytes(b"a gra")
    assert cache.find("key") is None
    assert cache.make("key", build_good).graph.read_bytes() == b"a graph"


@pytest.mark.parametrize("text", ["", "[]", '{"agreement": {"pictures": 1}}', '{"sha256": ""}'])
def test_a_spoilt_verdict_is_no_verdict(text: str, tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    cache.make("key", build_good)
    (tmp_path / "key" / "verdict.json").write_text(text)
    assert cache.find("key") is None


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(graph: Path, scratch: Path) -> Agreement:
        graph.write_bytes(b"half")
        (scratch / "fp32.onnx").write_bytes(b"large")
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError):
        EngineCache(tmp_path).make("key", fail)
    assert list(tmp_path.iterdir()) == []


def test_two_that_build_at_once_end_with_one_whole_entry(tmp_path: Path) -> None:
    both = Barrier(2, timeout=10)
    made: list[Quantised] = []

    def build(mark: bytes) -> None:
        def work(graph: Path, _scratch: Path) -> Agreement:
            graph.write_bytes(mark)
            both.wait()
            return GOOD

        made.append(EngineCache(tmp_path).make("key", work))

    threads = [Thread(target=build, args=(mark,)) for mark in (b"one", b"two")]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    assert made[0] == made[1] == EngineCache(tmp_path).find("key")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_folder_that_cannot_be_written_to_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        EngineCache(tmp_path / "file" / "engines").make("key", never)
