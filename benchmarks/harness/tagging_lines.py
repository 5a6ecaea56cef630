"""The ways to tag a list of files that are compared, all with the same weights and labels."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image

from core.relevance.defaults import DEFAULT_LABELS
from core.tags import Tagged, TagRequest
from core.vision.clip import DEFAULT_TEMPLATES
from core.vision.tagger import ClipTagger

BATCH = 32
Embeddings = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Peer:
    """open_clip as its README uses it."""

    model: Any
    preprocess: Callable[[Image.Image], torch.Tensor]
    texts: torch.Tensor

    @classmethod
    def load(cls, name: str, weights: Path) -> "Peer":
        """Return open_clip with the weights that ours uses."""
        model, _, preprocess = open_clip.create_model_and_transforms(
            name, pretrained=str(weights), precision="fp32", device="cpu"
        )
        tokens = open_clip.get_tokenizer(name)(
            [DEFAULT_TEMPLATES[0].replace("{}", label.name) for label in DEFAULT_LABELS]
        )
        model.eval()
        with torch.inference_mode():
            texts = torch.nn.functional.normalize(model.encode_text(tokens), dim=-1)
        return cls(model, preprocess, texts)

    def encode(self, batch: torch.Tensor) -> Embeddings:
        """Return the embeddings of a batch; score them against the labels, as a tagger must."""
        with torch.inference_mode():
            rows = torch.nn.functional.normalize(self.model.encode_image(batch), dim=-1)
            (100 * rows @ self.texts.T).softmax(dim=-1).topk(4)
        return rows.numpy()  # type: ignore[no-any-return]  # open_clip is not typed

    def one_by_one(self, files: Sequence[Path]) -> Embeddings:
        """Run the naive loop: open, transform and encode one image at a time."""
        return np.concatenate([self.encode(self._pixels(file)[None]) for file in files])

    def batched(self, files: Sequence[Path]) -> Embeddings:
        """Run the plain batched loop: transform a batch in threads, then encode it."""
        found = []
        with ThreadPool(torch.get_num_threads()) as pool:
            for start in range(0, len(files), BATCH):
                chunk = files[start : start + BATCH]
                found.append(self.encode(torch.stack(pool.map(self._pixels, chunk))))
        return np.concatenate(found)

    def bare(self, count: int) -> Embeddings:
        """Run the model alone, on decoded pixels: the upper limit of every tagger."""
        batch = torch.zeros(8, 3, *self.model.visual.image_size)
        return np.concatenate([self.encode(batch[: count - at]) for at in range(0, count, 8)])

    def _pixels(self, file: Path) -> torch.Tensor:
        with Image.open(file) as image:
            return self.preprocess(image)


async def ours(
    tagger: ClipTagger, files: Sequence[Path], *, corrupt: range = range(0)
) -> Embeddings:
    """Run our tagger without Kafka and PostgreSQL; reading, decoding, model and scores overlap.

    Args:
        corrupt: positions of files that end after a quarter, too little to be tagged; their rows
            become NaN.
    """
    contents = await asyncio.to_thread(lambda: [file.read_bytes() for file in files])
    for place in corrupt:
        contents[place] = contents[place][: len(contents[place]) // 4]
    rows: list[Embeddings | None] = []
    for place, result in enumerate(await tagger.tag_all(contents, [TagRequest()] * len(files))):
        if isinstance(result, Tagged) == (place in corrupt):
            raise SystemExit(f"photo {place} of the benchmark: {result}")
        if not isinstance(result, Tagged):
            rows.append(None)
        else:
            rows.append(np.frombuffer(result.tags.embedding, "<f2").astype(np.float32))
    width = next(len(row) for row in rows if row is not None)
    return np.stack([np.full(width, np.nan, np.float32) if row is None else row for row in rows])


def cosines(one: Embeddings, other: Embeddings) -> Embeddings:
    """Return the cosine per row."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(axis=1) / lengths  # type: ignore[no-any-return]  # numpy's Any


def save_weights(name: str, folder: Path) -> Path:
    """Write random weights once, so that all lines use the same file."""
    torch.manual_seed(20260501)
    path = folder / "random.pt"
    torch.save(open_clip.create_model(name, pretrained=None, device="cpu").state_dict(), path)
    return path
