"""The text tower on many short texts at once."""

from itertools import pairwise
from typing import Any, cast

import open_clip
import torch
from torch import Tensor
from torch.nn import functional

_LENGTHS = (7, 8, 10)  # tokens; most texts have 6 to 8 of the context's 16


def encode(model: open_clip.CLIP, tokens: Tensor) -> Tensor:
    """Return unit vectors of texts: int64 (n, context) -> float32 (n, dim).

    As `model.encode_text`, in half of the time: attention is causal and the vector is read at the
    end of a text, so that the padding behind it may be cut off.
    """
    lengths = tokens.argmax(dim=1) + 1  # the end-of-text token has the greatest number
    bounds = (0, *_LENGTHS, tokens.shape[1])
    places, vectors = [], []
    for low, high in pairwise(bounds):
        chosen = torch.nonzero((lengths > low) & (lengths <= high)).flatten()
        if len(chosen):
            places.append(chosen)
            vectors.append(_cut(model, tokens[chosen, :high]))
    order = torch.cat(places).argsort()
    return torch.cat(vectors)[order]


def _cut(model: open_clip.CLIP, tokens: Tensor) -> Tensor:
    count = tokens.shape[1]
    mask = cast("Tensor", model.attn_mask)[:count, :count]
    hidden = model.token_embedding(tokens) + model.positional_embedding[:count]
    hidden = model.ln_final(model.transformer(hidden, attn_mask=mask))
    last = hidden[torch.arange(len(tokens)), tokens.argmax(dim=1)]
    return functional.normalize(last @ cast("Any", model.text_projection), dim=1)
