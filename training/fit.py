"""The training of head and text tower on features of the picture tower."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.objective import Objective, log_crowding, log_prior, truth_of
from training.tower import CLASSES
from training.words.names import Kinds
from training.words.prompts import LABELS, PER_LABEL, TextBank
from training.words.synthetic import Rebuilt
from training.words.texts import encode

PEAK_RATE = 2e-3
WEIGHT_DECAY = 0.1
WARMUP_SHARE = 0.05
COOLDOWN_SHARE = 0.5
AVERAGE_DECAY = 0.98  # per step
MAX_LOG_SCALE = math.log(100)  # as open_clip and the CLIP paper clamp it
DROPPED = 0.25  # of a picture's feature; else training pictures are known by heart
MOST_DETAIL = 1.0  # times the mean difference that detail makes; whole photos have more than ours
FIRST_SCALE = 30.0  # of the logits; learnt from there
# How often kinds are drawn. People, flowers and surfaces show none of the labels, and look as if.
LOOKALIKE_WEIGHTS = {"people": 5.0, "flowers": 3.0, "surfaces": 4.0}
DOG_WEIGHT = 0.5  # of ImageNet's 118 kinds of dog: else whatever is unknown is a dog


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """The settings of a training run."""

    steps: int
    pictures: int  # per step
    synthetic: int  # features of classes without pictures, per step
    names: int  # per step
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """Features of the picture tower, several views of each picture.

    features: float16, (views, n, width). kinds: int64, (n,).
    detail: float32, (width,): what features gain, in the mean, from detail beyond 64 px.
    has_detail: bool, (n,): whether the picture has such detail.
    """

    features: Tensor
    kinds: Tensor
    detail: Tensor
    has_detail: Tensor


def rate_at(step: int, steps: int) -> float:
    """Return the learning rate: warm-up, plateau, linear cool-down."""
    warmup = min(1.0, (step + 1) / (steps * WARMUP_SHARE))
    cooldown = min(1.0, (steps - step) / (steps * COOLDOWN_SHARE))
    return PEAK_RATE * max(0.0, min(warmup, cooldown))


def trained_parts(model: open_clip.CLIP) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained: all but the picture tower's trunk."""
    return {
        name: weight
        for name, weight in model.named_parameters()
        if not name.startswith("visual.trunk.")
    }


def optimizer_of(model: open_clip.CLIP) -> torch.optim.Optimizer:
    """Return AdamW, without decay of gains, biases and embeddings.

    With decay the embedding rows of tokens that do not occur would go to zero.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, weight in trained_parts(model).items():
        (free if weight.ndim < 2 or "embedding" in name else decayed).append(weight)
    groups = [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98))


def label_rows(texts: Tensor) -> Tensor:
    """Return the texts' features with the prompts of each label made one, as at run time."""
    prompts = len(LABELS) * PER_LABEL
    means = texts[:prompts].view(len(LABELS), PER_LABEL, -1).mean(dim=1)
    return torch.cat([functional.normalize(means, dim=1), texts[prompts:]])


def draw_weights(kinds: Kinds, counts: Tensor, plan: TrainingPlan) -> tuple[Tensor, Tensor]:
    """Return the chance per step of a picture of each kind, and of a synthetic one: (kinds,)."""
    looks = torch.tensor([LOOKALIKE_WEIGHTS.get(kind.lookalike, 1.0) for kind in kinds.kinds])
    dogs = torch.tensor([DOG_WEIGHT if kind.labels == ("dog",) else 1.0 for kind in kinds.kinds])
    real = looks * counts
    synthetic = looks * dogs * (torch.arange(len(looks)) < CLASSES).float()
    return real / real.sum() * plan.pictures, synthetic / synthetic.sum() * plan.synthetic


class Trainer:
    """A model in training; `average` is the mean of its late weights, which is shipped."""

    def __init__(
        self,
        model: open_clip.CLIP,
        plan: TrainingPlan,
        kinds: Kinds,
        pictures: TrainingSet,
        rebuilt: Rebuilt,
        bank: TextBank,
    ) -> None:
        self.plan, self.model, self._bank = plan, model, bank
        self._pictures, self._rebuilt = pictures, rebuilt
        self._draw = torch.Generator().manual_seed(plan.seed)
        counts = torch.bincount(pictures.kinds, minlength=len(kinds.kinds)).float()
        real, self._synthetic = draw_weights(kinds, counts, plan)
        self._per_picture = (real / counts.clamp(min=1))[pictures.kinds]
        truth = truth_of(kinds, kinds.texts())
        drawn = real + self._synthetic
        natural = counts.clone()
        natural[kinds.drawn] = 0
        crowding = log_crowding(truth, drawn, natural)
        self._objective = Objective(truth, log_prior(truth, drawn), crowding)
        with torch.no_grad():
            model.logit_scale.fill_(math.log(FIRST_SCALE))
        self._optimizer = optimizer_of(model)
        self._averaged = {
            name: weight.detach().clone() for name, weight in trained_parts(model).items()
        }

    def run(self, on_step: Callable[[float], None]) -> None:
        """Train all steps; `on_step` gets each loss."""
        self.model.train()
        cast("Any", self.model.visual).trunk.eval()
        for step in range(self.plan.steps):
            for group in self._optimizer.param_groups:
                group["lr"] = rate_at(step, self.plan.steps)
            on_step(self._step(step))

    @property
    def average(self) -> open_clip.CLIP:
        """Return a copy of the model with the averaged weights, in evaluation mode."""
        model = copy.deepcopy(self.model).eval()
        with torch.no_grad():
            for name, weight in trained_parts(model).items():
                weight.copy_(self._averaged[name])
        return model

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Return features and kinds of a step's real and synthetic pictures."""
        chosen = torch.multinomial(
            self._per_picture, self.plan.pictures, replacement=True, generator=self._draw
        )
        views = torch.randint(len(self._pictures.features), (len(chosen),), generator=self._draw)
        classes = torch.multinomial(
            self._synthetic, self.plan.synthetic, replacement=True, generator=self._draw
        )
        features = self._pictures.features[views, chosen].float()
        features = self._detailed(features, self._pictures.has_detail[chosen])
        return (
            torch.cat([features, self._rebuilt.draw(classes, self._draw)]),
            torch.cat([self._pictures.kinds[chosen], classes]),
        )

    def _detailed(self, features: Tensor, has_detail: Tensor) -> Tensor:
        """Return features with a random amount of detail, so that it tells nothing.

        Half of the pictures have 64 px, among them nearly all of food, cars, the military and of
        people without a label; sport has more: else a sharp photo of a person would be sport.
        """
        amount = torch.rand(len(features), 1, generator=self._draw) * MOST_DETAIL
        amount = torch.where(has_detail[:, None], -amount.clamp(max=1), amount)
        return (features + amount * self._pictures.detail).clamp(min=0)

    def _step(self, step: int) -> float:
        features, kinds = self._batch()
        kept = torch.rand(features.shape, generator=self._draw) >= DROPPED
        features = features * kept / (1 - DROPPED)
        pictures = functional.normalize(cast("Any", self.model.visual).head(features), dim=1)
        tokens, chosen = self._bank.draw(self.plan.names, self._draw)
        texts = label_rows(encode(self.model, tokens))
        logits = self.model.logit_scale.exp() * pictures @ texts.T
        loss = self._objective.loss(logits, kinds, chosen)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([*trained_parts(self.model).values()], 5.0)
        self._optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, MAX_LOG_SCALE)
            kept = min(AVERAGE_DECAY, (1 + step) / (10 + step))
            for name, weight in trained_parts(self.model).items():
                self._averaged[name].lerp_(weight.detach(), 1 - kept)
        return float(loss.detach())
