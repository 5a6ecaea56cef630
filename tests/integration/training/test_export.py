"""The written folder, and training that goes on where it stopped."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import ConfigurationError
from training.card import write_card
from training.demo_model import device_of
from training.export import (
    CARD_NAME,
    CONFIG_NAME,
    WEIGHTS_NAME,
    half_precision,
    load_model,
    read_metrics,
    read_model,
    write_metrics,
    write_model,
)
from training.fit import Trainer, TrainingPlan, TrainingSet
from training.loss import TextBank, objective_of, targets_of, vocabulary_of
from training.measure import ModelOrigin, Trial, best_scale, measure
from training.network import IMAGE_SIZE, build, tokenizer
from training.pictures import LabelledPicture, read_index
from training.prompts import LABELS, WITHOUT_PICTURES

PICTURED = [label for label in LABELS if label not in WITHOUT_PICTURES]
PICTURES = tuple(
    LabelledPicture(
        "a.zip", f"{number}.jpg", f"repo/{number}", (label,), label, f"a {label}", (label,)
    )
    for number, label in enumerate(PICTURED * 2)
)
CPU = torch.device("cpu")


def tiny_set() -> TrainingSet:
    draw = torch.Generator().manual_seed(3)
    shape = (len(PICTURES), 96, 96, 3)
    canvas = torch.randint(0, 255, shape, dtype=torch.uint8, generator=draw)
    targets = targets_of(PICTURES, vocabulary_of(PICTURES))
    return TrainingSet(canvas, torch.full((len(PICTURES), 2), 90), targets)


def trainer(epochs: int = 2) -> Trainer:
    torch.manual_seed(1)
    vocabulary = vocabulary_of(PICTURES)
    return Trainer(
        build(),
        TrainingPlan(epochs=epochs, batch=10, seed=1, device=CPU, bf16=False),
        TextBank(vocabulary, tokenizer()),
        objective_of(targets_of(PICTURES, vocabulary)),
    )


def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path) -> None:
    pictures = tiny_set()
    unbroken = trainer()
    unbroken.run_epoch(pictures, lambda: None)
    unbroken.run_epoch(pictures, lambda: None)

    broken = trainer()
    broken.run_epoch(pictures, lambda: None)
    broken.save(tmp_path / "checkpoint.pt")
    resumed = trainer()
    resumed.load(tmp_path / "checkpoint.pt")
    resumed.run_epoch(pictures, lambda: None)

    assert resumed.epoch == 2
    for name, value in unbroken.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name]), name


def test_a_checkpoint_is_only_replaced_by_a_complete_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.pt"
    run = trainer()
    run.save(path)
    good = path.read_bytes()

    def half_written(_: object, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError

    monkeypatch.setattr(torch, "save", half_written)
    with pytest.raises(OSError):  # the disk's own error, whatever it says
        run.save(path)

    assert path.read_bytes() == good


def test_an_exported_model_gives_the_features_of_the_trained_one(tmp_path: Path) -> None:
    model = build().eval()
    pixels = torch.randn(4, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(2))

    write_model(tmp_path, model, scale=20.0)
    loaded = load_model(tmp_path)

    with torch.inference_mode():
        own = model.encode_image(pixels, normalize=True)
        theirs = loaded.encode_image(pixels, normalize=True)
        texts = tokenizer()(["a photo of a cat"])
        own_text = model.encode_text(texts, normalize=True)
        their_text = loaded.encode_text(texts, normalize=True)
    assert torch.nn.functional.cosine_similarity(own, theirs).min() > 0.9999
    assert torch.nn.functional.cosine_similarity(own_text, their_text).min() > 0.9999
    assert float(loaded.logit_scale.detach().exp()) == pytest.approx(20.0, rel=2e-3)


def test_training_can_begin_from_a_written_folder(tmp_path: Path) -> None:
    model = build().eval()
    write_model(tmp_path, model, scale=20.0)

    begun = read_model(tmp_path).eval()

    pixels = torch.randn(4, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        own, theirs = (one.encode_image(pixels, normalize=True) for one in (model, begun))
    assert torch.nn.functional.cosine_similarity(own, theirs).min() > 0.9999
    assert begun.logit_scale.dtype == torch.float32


def test_a_folder_to_begin_from_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"--begin {tmp_path}"):
        read_model(tmp_path)


def test_a_value_beyond_half_precision_is_refused() -> None:
    model = build()
    with torch.no_grad():
        model.text_projection[0, 0] = 1e6

    with pytest.raises(OverflowError, match="text_projection"):
        half_precision(model, 10.0)


def test_the_folder_says_what_was_measured_on_it(tmp_path: Path) -> None:
    data = tmp_path / "data" / "photos-train"
    data.mkdir(parents=True)
    (data.parent / "sources.csv").write_text(
        "source_repo,commit,used_in,licence_key,licence_note\n"
        "some/pictures,0,photos-train;nasty,odd-licence,as it is\n"
        "other/pictures,0,nasty,MIT,not used\n",
        encoding="utf-8",
    )
    views = np.random.default_rng(4).integers(
        0, 255, (20, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8
    )
    trial = Trial(views, tuple(p.labels for p in PICTURES), (), views[:0])
    model = build().eval()
    folder = tmp_path / "model"

    write_model(folder, model, best_scale(model, trial))
    metrics = measure(
        folder, trial, ModelOrigin(20, float(model.logit_scale.detach().exp()), {"seed": "1"})
    )
    write_metrics(folder, metrics)
    write_card(folder, metrics, data)

    card = (folder / CARD_NAME).read_text(encoding="utf-8")
    assert read_metrics(folder)["macro_10"] == metrics.macro_10
    assert f"{metrics.macro_10:.3f}" in card
    assert metrics.weights_sha256 in card
    assert "some/pictures" in card
    assert "(confusion.svg)" in card
    assert (folder / "confusion.svg").read_text(encoding="utf-8").startswith("<svg")
    assert "other/pictures" not in card
    assert all(label in card for label in LABELS)
    assert sum(sum(row.values()) for row in metrics.confusion.values()) == 20
    assert json.loads((folder / CONFIG_NAME).read_text())["model_cfg"]["embed_dim"] == 128
    assert (folder / WEIGHTS_NAME).stat().st_size < 20_000_000
    assert math.isfinite(metrics.ece_after)


def test_a_folder_without_pictures_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--data"):
        read_index(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_that_is_not_there_is_refused_and_auto_falls_to_the_cpu() -> None:
    with pytest.raises(ConfigurationError, match="--device cuda"):
        device_of("cuda")
    assert device_of("auto") == CPU
