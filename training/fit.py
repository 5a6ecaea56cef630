"""The training loop: it keeps an average of the weights and can resume after each epoch."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from training.augment import random_views
from training.loss import Objective, Targets, TextBank
from training.network import IMAGE_SIZE, normalise

PEAK_RATE = 2e-3
WEIGHT_DECAY = 0.05
WARMUP_EPOCHS = 2.0
COOLDOWN_SHARE = 0.3  # share of the epochs in which the rate falls to zero
AVERAGE_DECAY = 0.995  # per step; half-life 140 steps, a little over one epoch
MAX_LOG_SCALE = math.log(100)  # as open_clip and the CLIP paper clamp it


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """The settings of a training run."""

    epochs: int
    batch: int
    seed: int
    device: torch.device
    bf16: bool  # autocast; only where the processor has it


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The training data: canvases (uint8), their sizes and their targets, row by row."""

    canvas: Tensor
    sizes: Tensor
    targets: Targets


def bf16_is_faster(model: open_clip.CLIP, device: torch.device) -> bool:
    """Return whether a trial with autocast to bfloat16 was faster than one without.

    It halves the time where the processor has bfloat16, and is far slower elsewhere.
    """
    trial = copy.deepcopy(model.visual).to(device, memory_format=torch.channels_last)
    pixels = normalise(torch.randint(0, 255, (64, 3, IMAGE_SIZE, IMAGE_SIZE), device=device))

    def seconds(*, enabled: bool) -> float:
        best = math.inf
        for _ in range(3):  # the first one is a warm-up
            start = time.perf_counter()
            with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
                features = trial(pixels)
            loss = features.float().square().mean()
            loss.backward()
            loss.detach().item()  # waits for CUDA
            best = min(best, time.perf_counter() - start)
        return best

    return seconds(enabled=True) < seconds(enabled=False)


def rate_at(progress: float, epochs: int) -> float:
    """Return the learning rate after `progress` epochs: warm-up, plateau, linear cool-down.

    With a plateau, unlike a cosine, a run can be prolonged, and the average of the weights is
    already usable during it.
    """
    warmup = min(1.0, progress / WARMUP_EPOCHS)
    cooldown = min(1.0, (epochs - progress) / (epochs * COOLDOWN_SHARE))
    return PEAK_RATE * max(0.0, min(warmup, cooldown))


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    """Return AdamW, without decay of gains, biases and embeddings.

    With decay the embedding rows of tokens that do not occur would go to zero.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, weight in model.named_parameters():
        group = free if weight.ndim < 2 or "embedding" in name else decayed
        group.append(weight)
    groups = [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98))


class Trainer:
    """A model in training, and all else that a checkpoint must hold.

    `average` is the exponential average of the weights; it is what is evaluated and shipped.
    """

    def __init__(
        self, model: open_clip.CLIP, plan: TrainingPlan, bank: TextBank, objective: Objective
    ) -> None:
        self.plan = plan
        self.model = model.to(plan.device, memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(requires_grad=False)
        self.epoch = 0
        self._steps = 0
        self._bank = bank
        self._objective = Objective(
            objective.label_prior.to(plan.device),
            objective.background_prior.to(plan.device),
            objective.captions,
        )
        self._optimizer = optimizer_of(self.model)

    def run_epoch(self, pictures: TrainingSet, on_step: Callable[[], None]) -> float:
        """Train on all pictures once in random order; return the mean loss.

        The order and the crops depend only on seed and epoch, so that a resumed run gives the same
        result as an uninterrupted one.
        """
        draw = torch.Generator().manual_seed(self.plan.seed * 100_003 + self.epoch)
        order = torch.randperm(len(pictures.canvas), generator=draw)
        batches = order.split(self.plan.batch)[: len(order) // self.plan.batch]
        self.model.train()
        total = 0.0
        for number, places in enumerate(batches):
            rate = rate_at(self.epoch + number / len(batches), self.plan.epochs)
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            total += self._step(pictures, places, draw)
            on_step()
        self.epoch += 1
        return total / len(batches)

    def _step(self, pictures: TrainingSet, places: Tensor, draw: torch.Generator) -> float:
        device = self.plan.device
        canvas = pictures.canvas[places].to(device)
        views, mix = random_views(canvas, pictures.sizes[places], IMAGE_SIZE, draw)
        targets = pictures.targets.rows(places).to(device).mixed(mix)
        texts = self._bank.draw(draw).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.plan.bf16):
            image = self.model.encode_image(normalise(views), normalize=True)
        # float32: at width 64 autocast's casts cost more than bfloat16 saves (51 and 70 ms)
        text = self.model.encode_text(texts, normalize=True)
        logits = self.model.logit_scale.exp() * image.float() @ text.float().T
        loss = self._objective.loss(logits, targets)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self._optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, MAX_LOG_SCALE)
        self._update_average()
        return float(loss.detach())

    @torch.no_grad()
    def _update_average(self) -> None:
        self._steps += 1
        decay = min(AVERAGE_DECAY, (1 + self._steps) / (10 + self._steps))
        own, kept = self.model.state_dict(), self.average.state_dict()
        for name, value in kept.items():
            if value.is_floating_point():
                value.lerp_(own[name], 1 - decay)
            else:
                value.copy_(own[name])

    def save(self, path: Path) -> None:
        """Write a checkpoint; it replaces the earlier one only when it is complete."""
        state: dict[str, Any] = {
            "epoch": self.epoch,
            "steps": self._steps,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    def load(self, path: Path) -> None:
        """Load a checkpoint."""
        state = torch.load(path, map_location=self.plan.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.epoch, self._steps = state["epoch"], state["steps"]
