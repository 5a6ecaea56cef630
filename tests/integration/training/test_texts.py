"""Short texts are encoded as open_clip encodes them."""

import torch

from training.network import build, tokenizer
from training.words.texts import encode


def test_texts_without_their_padding_have_the_vectors_of_whole_ones() -> None:
    model = build().eval()
    tokens = tokenizer()(
        [
            "cat",
            "a photo of a cat",
            "a photo of Victory Day, fireworks and red flags on the ninth of May",
        ]
    )

    with torch.inference_mode():
        own, theirs = encode(model, tokens), model.encode_text(tokens, normalize=True)

    assert torch.allclose(own, theirs, atol=1e-5)
