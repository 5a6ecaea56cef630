"""The model card, generated from the measurements and the table of sources."""

import csv
from collections.abc import Sequence
from pathlib import Path

from training.confusion import confusion_svg
from training.evaluate import PICTURED
from training.export import CARD_NAME, ModelQuality
from training.network import CONTEXT_LENGTH, MODEL_CFG, PREPROCESS_CFG
from training.prompts import LABELS, PROMPTS, WITHOUT_PICTURES

PICTURE_NAME = "confusion.svg"
SOURCES_NAME = "sources.csv"
SET_NAME = "photos-train"

INTRODUCTION = """# Model card: the bundled demo model

A very small CLIP, trained from scratch by this project, so that the archive can be tried and
tested on a machine without any downloaded weights. **It is for demonstration and tests.** It knows
the default labels at the size of a thumbnail and little else. For real archives set `MODEL` to a
published CLIP or SigLIP model.
"""

LIMITS = """## What it cannot know

- **{missing}** have no pictures in the training set.
  Their prompts were only taught as wrong answers, so they are almost never the first tag; `party`
  was given a little of *celebration*, `veterans` and `Victory Day` a little of *military*, so that
  they rank behind their kin. A tag of these four from this model says nothing about the photo.
- *celebration* means graduation gowns and maypoles, *military* cannons, uniforms and missiles:
  that is all it has seen of them. Weddings, cakes and fireworks are guesses.
- It sees {size} x {size} pixels of the middle of the photo. Small things, text and faces are lost.
- It was trained on pictures of one subject. Softmax elects a label for any photo; use a threshold.
- Words outside of the captions' vocabulary (some 400 nouns) have no meaning for its text tower, and
  texts are cut to {context} tokens. English only.
- The sources are what was at hand: mostly European and American scenes of before 2015.

Not for decisions about people, not for surveillance, not for moderation; no figure here carries
over to another archive.
"""

TRAINING = """## Training

One text space: the text tower encodes, anew at each step and with changing wording, a prompt for
every label, a background prompt ("a photo", "something"), all class captions and all words; the
loss is the sum of four cross-entropies of the picture against them (labels 2, captions 1, labels
with background 0.5, words 0.3). The label terms are adjusted by the logarithm of the labels'
shares (Menon et al. 2021), so that scores are those of balanced labels. AdamW, warm-up, plateau,
linear cool-down; random crops, mirror, colour, sharpness, compression, erasing, mixup and CutMix;
the shipped weights are the exponential average, rounded to float16.

Retrain (the pictures are not part of the repository; `--data` is a folder with
`photos-train.csv` and its archives):

```
python -m training.demo_model --data ../shared/data/photos-train --out core/vision/demo_model
```

It resumes after an interruption, runs on CPU and CUDA, and ends by writing this folder, card
included. How the shipped weights came about: `docs/decisions/0006-demo-model.md`. Settings of this
run: {settings}.
"""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


ACCURACY = """## Accuracy

Zero-shot top-1 on the held-out fifth, split by source picture with near-copies kept on one side.
A picture with two labels counts as right if the first tag is one of them.

{measures}
{labels}
The logit scale was fitted on one half of the held-out pictures and its calibration error (15 bins,
score of the first tag among 14) measured on the other.
"""


def _figures(metrics: ModelQuality) -> str:
    demo = f"{metrics.demo_hits} of {metrics.demo_photos}"
    before = _ece(metrics.ece_before, metrics.learned_scale)
    after = _ece(metrics.ece_after, metrics.fitted_scale)
    measures = [
        ("macro accuracy among the ten labels with pictures", f"{metrics.macro_10:.3f}"),
        ("the same with one prompt per label", f"{metrics.macro_10_single:.3f}"),
        ("the same, only a picture's main label counts", f"{metrics.macro_10_main:.3f}"),
        ("macro accuracy among all 14 labels", f"{metrics.macro_14:.3f}"),
        ("full-size photos with a right first tag of 14", demo),
        ("calibration error with the learned logit scale", before),
        ("calibration error with the fitted logit scale", after),
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
    return ACCURACY.format(
        measures=_table(("measure", "value"), measures),
        labels=_table(("label", "held-out pictures", "among 10", "among 14"), labels),
    )


def _ece(error: float, scale: float) -> str:
    return f"{error:.3f} (scale {scale:.1f})"


def _confusion(metrics: ModelQuality) -> str:
    rows = [
        (f"**{own}**", *(str(metrics.confusion.get(own, {}).get(tag, 0)) for tag in PICTURED))
        for own in PICTURED
    ]
    return (
        f"## Confusion\n\n![confusion matrix]({PICTURE_NAME})\n\n"
        "Rows: a picture's main label; columns: its first tag among the ten.\n\n"
        + _table(("", *PICTURED), rows)
        + "\nFull-size photos with another first tag: "
        + (", ".join(f"{name} → {tag}" for name, tag in metrics.demo_misses.items()) or "none")
        + ".\n"
    )


DATA = """## Data and licences

{table}
Only weights are shipped, no picture. Several sources state no licence, or allow non-commercial
research and education only: take the weights as good for demonstration, tests and study, and train
anew on pictures of your own before any other use. The repository's licence covers the code, not
rights in those pictures.
"""


def _sources(data: Path) -> str:
    with (data.parent / SOURCES_NAME).open(encoding="utf-8", newline="") as lines:
        rows = [
            (row["source_repo"], row["licence_key"], row["licence_note"])
            for row in csv.DictReader(lines)
            if SET_NAME in row["used_in"].split(";")
        ]
    table = _table(("source (GitHub repository)", "licence", "note"), rows)
    return DATA.format(table=table)


ARCHITECTURE = """## What it is

- open_clip format, {millions:.2f} M parameters in float16; loads with open_clip 3.3 as
  `local-dir:core/vision/demo_model`.
- Picture: `{trunk}` (timm), {size} px: shorter side resized ({interpolation}, antialiased), centre
  crop, OpenAI's mean and deviation.
- Text: {layers} layers of width {width}, {context} tokens, open_clip's built-in BPE.
- Embedding: {dimension} numbers. Logit scale {scale:.1f}.
- SHA-256 of the weights: `{digest}`.

Prompts behind the figures below; the features of a label's prompts are averaged and made unit
length again:

{prompts}"""


def _architecture(metrics: ModelQuality) -> str:
    text = MODEL_CFG["text_cfg"]
    prompts = [(label, ", ".join(f"`{prompt}`" for prompt in PROMPTS[label])) for label in LABELS]
    return ARCHITECTURE.format(
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
    limits = LIMITS.format(
        missing=", ".join(WITHOUT_PICTURES), size=PREPROCESS_CFG["size"], context=CONTEXT_LENGTH
    )
    parts = (
        INTRODUCTION,
        _architecture(metrics),
        _figures(metrics),
        _confusion(metrics),
        limits,
        TRAINING.format(settings=settings),
        _sources(data),
    )
    (folder / CARD_NAME).write_text("\n".join(parts), encoding="utf-8")
