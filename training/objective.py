"""What is asked of the model: labels, none of them, and names, from one matrix of logits."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.words.names import Kinds
from training.words.prompts import BACKGROUND, LABELS, WITHOUT_PICTURES

CHOICE_WEIGHT = 4.0  # softmax over the labels
NONE_WEIGHT = 5.0  # the same, for a picture without a label: no label may win
PRESENCE_WEIGHT = 3.0  # each label against the background
NAME_WEIGHT = 0.6
FINE_WEIGHT = 0.4
FIRST_WEIGHT = 0.9
WORD_WEIGHT = 0.3
FALSE_WORDS = 300  # all false words together count as so many
SMOOTHING = 0.02
MAIN_SHARE = 0.8  # of the first label of a picture with two
_TINY = 1e-7


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What is true of each kind; float32, one row per kind.

    shares: (kinds, 14), summing to one, or all zero. has: (kinds, 14), 1 for each of its labels.
    known: (kinds,), 0 where its labels are not known. none: (kinds,), 1 where it has none.
    own, wider: (kinds, names), 1 for its own names and for its groups.
    """

    shares: Tensor
    has: Tensor
    known: Tensor
    none: Tensor
    own: Tensor
    wider: Tensor


def truth_of(kinds: Kinds, names: Sequence[str]) -> Truth:
    """Return what is true of the kinds."""
    count = len(kinds.kinds)
    place = {name: at for at, name in enumerate(names)}
    shares, own, wider = (torch.zeros(count, n) for n in (len(LABELS), len(names), len(names)))
    known = torch.zeros(count)
    for row, kind in enumerate(kinds.kinds):
        for at, label in enumerate(kind.labels or ()):
            main = MAIN_SHARE if len(kind.labels or ()) > 1 else 1.0
            rest = (1 - MAIN_SHARE) / max(1, len(kind.labels or ()) - 1)
            shares[row, LABELS.index(label)] = main if at == 0 else rest
        known[row] = float(kind.labels is not None)
        own[row, [place[name] for name in kind.names]] = 1.0
        wider[row, [place[name] for name in kind.groups]] = 1.0
    has = (shares > 0).float()
    return Truth(shares, has, known, known * (has.sum(dim=1) == 0).float(), own, wider)


def log_prior(truth: Truth, weights: Tensor) -> Tensor:
    """Return the log share of each label in what is drawn (logit adjustment, Menon et al. 2021).

    A picture counts in full for each of its labels, as in the macro metric. Labels without pictures
    get the mean of the others: with a tiny prior of their own they would rank above all others.

    Args:
        truth: of the kinds.
        weights: how often each kind is drawn, float32, (kinds,).
    """
    counts = (truth.has * weights[:, None]).sum(dim=0)
    pictured = torch.tensor([label not in WITHOUT_PICTURES for label in LABELS])
    logs = (counts.clamp(min=_TINY) / counts.sum()).log()
    return torch.where(pictured, logs, logs[pictured].mean())


def log_crowding(truth: Truth, drawn: Tensor, counts: Tensor) -> float:
    """Return the log of the factor by which drawing prefers kinds without a label.

    Args:
        truth: of the kinds.
        drawn: how often each kind is drawn, float32, (kinds,).
        counts: how many pictures there are of each, float32, (kinds,).
    """
    odds = [
        (row @ truth.none) / (row @ truth.has.amax(dim=1)).clamp(min=_TINY)
        for row in (drawn, counts)
    ]
    return float((odds[0] / odds[1].clamp(min=_TINY)).clamp(min=_TINY).log())


@dataclass(frozen=True, slots=True, eq=False)
class Objective:
    """Computes the loss of a batch from its logits (pictures x labels, background, names)."""

    truth: Truth
    prior: Tensor
    crowded: float = 0.0  # log of how many times too often pictures without a label are drawn

    def loss(self, logits: Tensor, kinds: Tensor, chosen: Tensor) -> Tensor:
        """Return the weighted sum of the losses; scalar.

        Args:
            logits: float32, (n, 14 + backgrounds + names).
            kinds: int64, (n,), of each picture.
            chosen: int64, which names the last columns are.
        """
        end = len(LABELS) + len(BACKGROUND)
        labels, ground, names = (
            logits[:, : len(LABELS)],
            logits[:, len(LABELS) : end],
            logits[:, end:],
        )
        background = ground.logsumexp(dim=1, keepdim=True)
        own, wider = (true[:, chosen][kinds] for true in (self.truth.own, self.truth.wider))
        return (
            self._choice(labels, kinds)
            + PRESENCE_WEIGHT * self._presence(labels - background, kinds)
            + _name_loss(names, own, wider)
            + WORD_WEIGHT * _word_loss(names - background, (own + wider).clamp(max=1))
        )

    def _choice(self, labels: Tensor, kinds: Tensor) -> Tensor:
        """Return the loss of the softmax: a picture's labels, or no preference without any."""
        shares, none = self.truth.shares[kinds], self.truth.none[kinds]
        smooth = shares * (1 - SMOOTHING) + SMOOTHING / len(LABELS)
        chosen = -(smooth * functional.log_softmax(labels + self.prior, dim=1)).sum(dim=1)
        even = -functional.log_softmax(labels, dim=1).mean(dim=1)
        weights = CHOICE_WEIGHT * self.truth.has[kinds].amax(dim=1), NONE_WEIGHT * none
        return (weights[0] * chosen + weights[1] * even).mean()

    def _presence(self, margins: Tensor, kinds: Tensor) -> Tensor:
        """Return the loss of "this label rather than just a photo", label by label."""
        has = self.truth.has[kinds]
        shifted = margins - self.crowded  # so that a score is a probability among usual pictures
        losses = functional.binary_cross_entropy_with_logits(shifted, has, reduction="none")
        return (losses.sum(dim=1) * self.truth.known[kinds]).mean()


def _name_loss(names: Tensor, own: Tensor, wider: Tensor) -> Tensor:
    """Return the loss of the names. True names are added up: rivals are the false ones alone.

    Each part is asked of the pictures that have such a name among those of this step.
    """
    chances = names.softmax(dim=1)
    of_own, of_wider = (chances * own).sum(dim=1), (chances * wider).sum(dim=1)
    has_own = own.amax(dim=1)
    has_any = torch.maximum(has_own, wider.amax(dim=1))
    any_of = -(of_own + of_wider).clamp(min=_TINY).log() * has_any
    fine = -(of_own / (1 - of_wider).clamp(min=_TINY)).clamp(min=_TINY).log() * has_own
    first = -of_own.clamp(min=_TINY).log() * has_own
    return NAME_WEIGHT * any_of.sum() / has_any.sum().clamp(min=1) + (
        FINE_WEIGHT * fine + FIRST_WEIGHT * first
    ).sum() / has_own.sum().clamp(min=1)


def _word_loss(margins: Tensor, true: Tensor) -> Tensor:
    """Return the loss of "this word rather than just a photo", over true and false words."""
    shares = true / true.sum(dim=1, keepdim=True).clamp(min=1)
    said = (functional.softplus(-margins) * shares).sum(dim=1)
    unsaid = (functional.softplus(margins) * (1 - true)).mean(dim=1) * FALSE_WORDS
    return (said + unsaid).mean()
