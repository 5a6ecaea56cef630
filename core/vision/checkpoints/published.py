"""Published files of weights and the activation they were trained with, by their SHA-256.

Nothing in a state dict tells QuickGELU from GELU: the activation has no weights.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

#: openai's archives, of the `clip` package: each hash is part of the file's address there.
_OPENAI = {
    "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762": "RN50",
    "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599": "RN101",
    "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd": "RN50x4",
    "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa": "RN50x16",
    "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c": "RN50x64",
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af": "ViT-B-32",
    "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f": "ViT-B-16",
    "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836": "ViT-L-14",
    "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02": "ViT-L-14-336",
}
#: open_clip_model.safetensors in the repositories that open_clip's tags lead to, as those who pin
#: them have written down: (architecture, tag, QuickGELU).
_CONVERTED = {
    # timm/vit_base_patch32_clip_224.openai at a6f597a3
    "e6d1bd7789aa45192b3bf90570a789b478bae1b74ebcce7eddd908e83a2b7c31": (
        "ViT-B-32",
        "openai",
        True,
    ),
    # timm/vit_base_patch16_clip_224.openai at 977e3dd0
    "4b8699299b1e8997753c64b052ba32031449d5d853f55a039148560ee02b820f": (
        "ViT-B-16",
        "openai",
        True,
    ),
    # timm/vit_large_patch14_clip_224.openai at 18d05354
    "9ce2e8a8ebfff3793d7d375ad6d3c35cb9aebf3de7ace0fc7308accab7cd207e": (
        "ViT-L-14",
        "openai",
        True,
    ),
    # timm/resnet50_clip.openai at ec3d92cf
    "da0baa37fb2211eee5729ab69ed587eb10d48f5b7076ceeed01552fc3d4cb4ee": ("RN50", "openai", True),
    # laion/CLIP-ViT-B-32-laion2B-s34B-b79K at 1a25a446
    "ac4f8c4b88af6d963118cbf40ad93176d092abbedfcb752601ae1866352656e6": (
        "ViT-B-32",
        "laion2b_s34b_b79k",
        False,
    ),
}


@dataclass(frozen=True, slots=True)
class Published:
    """What is known of a published file.

    Attributes:
        architecture: its name in open_clip, without `-quickgelu`.
        tag: its name among the architecture's weights in open_clip.
        quick_gelu: whether it was trained with QuickGELU.
    """

    architecture: str
    tag: str
    quick_gelu: bool


def by_hash(sha256: str) -> Published | None:
    """Return which published weights a file holds; None where its hash is not known."""
    if sha256 in _OPENAI:
        return Published(_OPENAI[sha256], "openai", quick_gelu=True)
    if sha256 in _CONVERTED:
        architecture, tag, quick_gelu = _CONVERTED[sha256]
        return Published(architecture, tag, quick_gelu=quick_gelu)
    return None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
