"""The model card, generated from the measurements and the table of sources."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training import card_texts
from training.confusion import confusion_svg
from training.export import CARD_NAME, ModelQuality
from training.measure import RIGHT_SHARE, WORD_PICTURES, labelled_count, misses
from training.network import CONTEXT_LENGTH, MODEL_CFG, PREPROCESS_CFG
from training.words.prompts import LABELS, PICTURED, PROMPTS, WITHOUT_PICTURES

PICTURE_NAME = "confusion.svg"
SOURCES_NAME = "sources.csv"
SET_NAME = "photos-train"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _figures(metrics: ModelQuality) -> str:
    photos = labelled_count(metrics.photos)
    hits, given = (photos - len(misses(metrics.photos, how)) for how in ("softmax", "threshold"))
    measures = [
        ("macro accuracy among the ten labels with pictures", f"{metrics.macro_10:.3f}"),
        ("the same with one prompt per label", f"{metrics.macro_10_single:.3f}"),
        ("the same, only a picture's main label counts", f"{metrics.macro_10_main:.3f}"),
        ("macro accuracy among all 14 labels", f"{metrics.macro_14:.3f}"),
        ("full-size photos with a right first tag of 14", f"{hits} of {photos}"),
        ("the same by `threshold`, where no tag is not right", f"{given} of {photos}"),
    ]
    labels = [
        (
            label,
            str(metrics.held_out[label]),
            f"{metrics.per_label[label]:.3f}",
            f"{metrics.per_label_14[label]:.3f}",
        )
        for label in PICTURED
    ]
    return card_texts.ACCURACY.format(
        measures=_table(("measure", "value"), measures),
        labels=_table(("label", "held-out pictures", "among 10", "among 14"), labels),
    )


TRUST_ROWS = {
    "ece_labelled": "calibration error, pictures with a label",
    "ece_all": "calibration error, all pictures that get a tag",
    "first_right": "pictures with a label: right first tag",
    "other_right": "the same, of the half that nothing was fitted on",
    "none_sure": "pictures without a label: first score over 0.8",
    "none_likely": "pictures without a label: first score over 0.5",
    "none_tagged": "pictures without a label: any tag",
}
WORD_ROWS = {
    "first": "the best name is true",
    "exact_first": "the best name is the class's own",
    "among_5": "a true name among the best five",
    "exact_among_5": "the class's own among the best five",
}


def _trust(metrics: ModelQuality) -> str:
    soft, threshold = metrics.trust["softmax"], metrics.trust["threshold"]
    rows = [(text, f"{soft[key]:.3f}", f"{threshold[key]:.3f}") for key, text in TRUST_ROWS.items()]
    table = _table(("measure", "softmax", "threshold"), rows)
    return card_texts.TRUST.format(
        least=f"{metrics.least_score:.3f}", share=RIGHT_SHARE, table=table
    )


def _names(metrics: ModelQuality) -> str:
    rows = [(text, f"{metrics.words[key]:.3f}") for key, text in WORD_ROWS.items()]
    return card_texts.NAMES.format(
        count=int(metrics.words["names"]),
        pictures=WORD_PICTURES,
        table=_table(("measure", "share"), rows),
    )


def _demo(metrics: ModelQuality) -> str:
    rows = [
        (name, _said(photo["softmax"]), _said(photo["threshold"]))
        for name, photo in metrics.demo.items()
    ]
    return card_texts.DEMO.format(table=_table(("photo", "softmax", "threshold"), rows))


def _said(tag: Sequence[Any]) -> str:
    return f"{tag[0]} {tag[1]:.2f}" if tag else "no tag"


def _confusion(metrics: ModelQuality) -> str:
    rows = [
        (f"**{own}**", *(str(metrics.confusion.get(own, {}).get(tag, 0)) for tag in PICTURED))
        for own in PICTURED
    ]
    wrong = misses(metrics.photos, "softmax")
    return (
        f"## Confusion\n\n![confusion matrix]({PICTURE_NAME})\n\n"
        "Rows: a picture's main label; columns: its first tag among the ten.\n\n"
        + _table(("", *PICTURED), rows)
        + "\nFull-size photos with another first tag: "
        + (", ".join(f"{name} → {tag}" for name, tag in wrong.items()) or "none")
        + ".\n"
    )


def _sources(data: Path) -> str:
    with (data.parent / SOURCES_NAME).open(encoding="utf-8", newline="") as lines:
        rows = [
            (row["source_repo"], row["licence_key"], row["licence_note"])
            for row in csv.DictReader(lines)
            if SET_NAME in row["used_in"].split(";")
        ]
    table = _table(("source (GitHub repository)", "licence", "note"), rows)
    return card_texts.DATA.format(table=table)


def _architecture(metrics: ModelQuality) -> str:
    text = MODEL_CFG["text_cfg"]
    prompts = [(label, ", ".join(f"`{prompt}`" for prompt in PROMPTS[label])) for label in LABELS]
    return card_texts.ARCHITECTURE.format(
        millions=metrics.parameters / 1e6,
        trunk=MODEL_CFG["vision_cfg"]["timm_model_name"],
        size=PREPROCESS_CFG["size"],
        interpolation=PREPROCESS_CFG["interpolation"],
        layers=text["layers"],
        width=text["width"],
        context=CONTEXT_LENGTH,
        dimension=MODEL_CFG["embed_dim"],
        scale=metrics.fitted_scale,
        digest=metrics.weights_sha256,
        prompts=_table(("label", "prompts"), prompts),
    )


def write_card(folder: Path, metrics: ModelQuality, data: Path) -> None:
    """Write the card and the picture of its confusion matrix.

    Args:
        data: the training folder; the table of sources is beside it.
    """
    picture = confusion_svg(metrics.confusion, PICTURED)
    (folder / PICTURE_NAME).write_text(picture, encoding="utf-8")
    settings = ", ".join(f"{name} {value}" for name, value in metrics.settings.items())
    limits = card_texts.LIMITS.format(
        missing=", ".join(WITHOUT_PICTURES),
        size=PREPROCESS_CFG["size"],
        names=int(metrics.words["names"]),
        context=CONTEXT_LENGTH,
    )
    parts = (
        card_texts.INTRODUCTION,
        _architecture(metrics),
        _figures(metrics),
        _trust(metrics),
        _names(metrics),
        _demo(metrics),
        _confusion(metrics),
        card_texts.SEEN,
        limits,
        card_texts.TRAINING.format(settings=settings),
        _sources(data),
    )
    (folder / CARD_NAME).write_text("\n".join(parts), encoding="utf-8")
