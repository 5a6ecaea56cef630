"""The training objective: pictures near their labels, captions and words, in one text space."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from open_clip import SimpleTokenizer
from torch import Tensor
from torch.nn import functional

from training.augment import Mix
from training.pictures import LabelledPicture
from training.prompts import (
    BACKGROUND,
    LABELS,
    PROMPTS,
    TEMPLATES,
    WITHOUT_PICTURES,
    label_targets,
)

LABEL_WEIGHT = 2.0
BACKGROUND_WEIGHT = 0.5
CAPTION_WEIGHT = 1.0
WORD_WEIGHT = 0.3
SMOOTHING = 0.05
OWN_SHARE = 0.3  # a label with at least this share is the picture's own, not a related one


@dataclass(frozen=True, slots=True)
class Targets:
    """The texts that each picture should be near to; float32, rows sum to one or are all zero.

    labels: (n, 14). background: (n, 15), last column for pictures without a label.
    captions: (n, captions). words: (n, words).
    """

    labels: Tensor
    background: Tensor
    captions: Tensor
    words: Tensor

    def rows(self, places: Tensor) -> "Targets":
        """Return the targets of some pictures."""
        return Targets(
            self.labels[places],
            self.background[places],
            self.captions[places],
            self.words[places],
        )

    def mixed(self, mix: Mix | None) -> "Targets":
        """Return the targets of mixed pictures."""
        if mix is None:
            return self
        other = self.rows(mix.partner)
        return Targets(
            *(
                one * mix.kept + two * (1 - mix.kept)
                for one, two in (
                    (self.labels, other.labels),
                    (self.background, other.background),
                    (self.captions, other.captions),
                    (self.words, other.words),
                )
            )
        )

    def to(self, device: torch.device) -> "Targets":
        """Return the targets on a device."""
        return Targets(
            self.labels.to(device),
            self.background.to(device),
            self.captions.to(device),
            self.words.to(device),
        )


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """All texts of the training set, in the order of the columns of `Targets`."""

    captions: tuple[str, ...]
    words: tuple[str, ...]


def vocabulary_of(pictures: Sequence[LabelledPicture]) -> Vocabulary:
    """Return the distinct captions and words, sorted."""
    return Vocabulary(
        captions=tuple(sorted({picture.caption for picture in pictures})),
        words=tuple(sorted({word for picture in pictures for word in picture.words})),
    )


def targets_of(pictures: Sequence[LabelledPicture], vocabulary: Vocabulary) -> Targets:
    """Return the targets of all pictures."""
    count = len(pictures)
    label_place = {label: place for place, label in enumerate(LABELS)}
    caption_place = {text: place for place, text in enumerate(vocabulary.captions)}
    word_place = {text: place for place, text in enumerate(vocabulary.words)}
    labels = torch.zeros(count, len(LABELS))
    captions = torch.zeros(count, len(vocabulary.captions))
    words = torch.zeros(count, len(vocabulary.words))
    for row, picture in enumerate(pictures):
        for target in label_targets(picture.labels):
            labels[row, label_place[target.label]] = target.share
        captions[row, caption_place[picture.caption]] = 1.0
        for word in picture.words:
            words[row, word_place[word]] = 1 / len(picture.words)
    nothing = 1 - labels.sum(dim=1, keepdim=True)
    return Targets(labels, torch.cat([labels, nothing], dim=1), captions, words)


class TextBank:
    """Draws a wording of every text for each step.

    The rows are one prompt per label, one background prompt, all captions, all words.
    """

    def __init__(self, vocabulary: Vocabulary, tokenizer: SimpleTokenizer) -> None:
        choices = [_label_wordings(label) for label in LABELS]
        choices.append(BACKGROUND)
        choices.extend((caption,) for caption in vocabulary.captions)
        choices.extend(
            tuple(template.format(word) for template in TEMPLATES) for word in vocabulary.words
        )
        self._starts = torch.tensor([0, *(len(row) for row in choices[:-1])]).cumsum(0)
        self._counts = torch.tensor([len(row) for row in choices])
        self._tokens = tokenizer([text for row in choices for text in row])

    def draw(self, draw: torch.Generator) -> Tensor:
        """Return tokens of a random wording of each text: int64, (texts, context)."""
        places = torch.rand(len(self._counts), generator=draw) * self._counts
        return self._tokens[self._starts + places.long()]


def _label_wordings(label: str) -> tuple[str, ...]:
    plain = tuple(template.format(label) for template in TEMPLATES)
    return PROMPTS[label] * 3 + plain  # the run time mostly uses the label's own prompts


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over rows that have a target; zero when none has."""
    mass = targets.sum(dim=1)
    count = (mass > 0).sum().clamp(min=1)
    columns = logits.shape[1]
    smooth = targets * (1 - SMOOTHING) + mass[:, None] * SMOOTHING / columns
    losses = -(smooth * functional.log_softmax(logits, dim=1)).sum(dim=1)
    return losses.sum() / count


def log_prior(targets: Tensor, pictured: Tensor) -> Tensor:
    """Return the log share of each column, for logit adjustment (Menon et al. 2021).

    A picture counts in full for each of its labels, as in the macro metric: by shares, the few
    pictures of a beach would draw in all landscapes. Columns outside `pictured` get the mean of the
    others: with their own tiny prior, labels without pictures would rank above all others.
    """
    counts = (targets >= OWN_SHARE).sum(dim=0).clamp(min=1).float()
    log_shares = (counts / counts.sum()).log()
    return torch.where(pictured, log_shares, log_shares[pictured].mean())


@dataclass(frozen=True, slots=True)
class Objective:
    """Computes the training loss from logits (pictures x texts of a TextBank)."""

    label_prior: Tensor
    background_prior: Tensor
    captions: int

    def loss(self, logits: Tensor, targets: Targets) -> Tensor:
        """Return the weighted sum of four cross-entropies; scalar."""
        labels = len(LABELS)
        caption_end = labels + 1 + self.captions
        return (
            LABEL_WEIGHT * soft_cross_entropy(logits[:, :labels] + self.label_prior, targets.labels)
            + BACKGROUND_WEIGHT
            * soft_cross_entropy(
                logits[:, : labels + 1] + self.background_prior, targets.background
            )
            + CAPTION_WEIGHT
            * soft_cross_entropy(logits[:, labels + 1 : caption_end], targets.captions)
            + WORD_WEIGHT * soft_cross_entropy(logits[:, caption_end:], targets.words)
        )


def objective_of(targets: Targets) -> Objective:
    """Return the objective with the priors of these (training) pictures."""
    pictured = torch.tensor([label not in WITHOUT_PICTURES for label in LABELS])
    return Objective(
        label_prior=log_prior(targets.labels, pictured),
        background_prior=log_prior(targets.background, torch.cat([pictured, torch.tensor([True])])),
        captions=targets.captions.shape[1],
    )
