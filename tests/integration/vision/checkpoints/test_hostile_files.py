"""Files that are no weights, or want to be taken for others: one sentence each, no traceback."""

import asyncio
import struct
import zipfile
from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.vision.checkpoints import converting, shapes
from core.vision.checkpoints.activation import metadata
from core.vision.checkpoints.source import CONFIG, _config_of
from core.vision.checkpoints.torchscript import is_archive

DEEP = b"[" * 200_000  # deeper than Python's own stack
CENTRAL = b"PK\x01\x02"


def zipped(path: Path, **marks: int) -> Path:
    """A zip file whose directory says something that `zipfile` cannot work with."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny/data.pkl", b"")
        archive.writestr("tiny/constants.pkl", b"")
    content = bytearray(path.read_bytes())
    at = content.find(CENTRAL)
    while at >= 0:
        struct.pack_into("<H", content, at + 6, marks.get("version", 20))
        struct.pack_into("<H", content, at + 8, marks.get("flags", 0))
        at = content.find(CENTRAL, at + 4)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("marks", [{"flags": 1}, {"version": 99}], ids=["encrypted", "later"])
def test_a_zip_file_that_cannot_be_read_is_told_of(tmp_path: Path, marks: dict[str, int]) -> None:
    file = zipped(tmp_path / "odd.pt", **marks)
    with pytest.raises(ConfigurationError, match=r"odd\.pt"):
        asyncio.run(converting.convert(file, tmp_path / "made"))
    assert [each.name for each in tmp_path.iterdir()] == ["odd.pt"]


def test_a_zip_file_of_a_later_format_is_no_archive(tmp_path: Path) -> None:
    """Every start of a tagging process asks this of the file that it was given."""
    assert is_archive(zipped(tmp_path / "usual.pt"))
    assert not is_archive(zipped(tmp_path / "later.pt", version=99))


def test_a_file_without_an_ending_is_not_to_be_removed_for_its_own_folder(tmp_path: Path) -> None:
    file = zipped(tmp_path / "weights")
    with pytest.raises(ConfigurationError, match=r"name the folder to make by --to"):
        asyncio.run(converting.convert(file, file))


def test_a_header_that_is_too_deep_says_nothing(tmp_path: Path) -> None:
    file = tmp_path / "deep.safetensors"
    file.write_bytes(struct.pack("<Q", len(DEEP)) + DEEP)
    assert metadata(file) == {}


def test_a_configuration_that_is_too_deep_is_refused(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_bytes(DEEP)
    with pytest.raises(ConfigurationError, match=f"{CONFIG} cannot be used: RecursionError"):
        _config_of(tmp_path)


@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 2, 2, 2), ()])
def test_weights_of_the_right_names_and_other_shapes_are_no_clip_model(
    shape: tuple[int, ...],
) -> None:
    with pytest.raises(ConfigurationError, match="not the weights of a CLIP model"):
        shapes.configuration({"visual.proj": (8, 8), "visual.conv1.weight": shape})
