"""What a start is measured against: a plain script that loads the model and tags one photo.

python -m benchmarks.peers.bare_start NAME PRETRAINED PHOTO LABEL…: names as open_clip has them;
PRETRAINED may be empty. Nothing of this project is imported.
"""

import sys

import open_clip
import torch
from PIL import Image


def main() -> None:
    """Print the photo's best label."""
    name, pretrained, photo, *labels = sys.argv[1:]
    model, _, preprocess = open_clip.create_model_and_transforms(
        name, pretrained=pretrained or None
    )
    model.eval()
    tokenizer = open_clip.get_tokenizer(name)
    with torch.inference_mode():
        image = model.encode_image(preprocess(Image.open(photo).convert("RGB"))[None])
        texts = model.encode_text(tokenizer([f"a photo of a {label}" for label in labels]))
        scores = torch.nn.functional.cosine_similarity(image, texts)
    print(labels[int(scores.argmax())])


if __name__ == "__main__":
    main()
