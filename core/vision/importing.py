"""open_clip without torch's compiler: nobody here compiles, and importing it takes five seconds.

open_clip imports torchvision and timm, and each of them asks for `torch._dynamo` while it is
imported: torchvision (0.29) for one function that `roi_align` calls on some devices, timm (1.0.31)
for the decorator `torch.compiler.disable`, which says what a compiler must leave alone.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

_UTILS = "torch._dynamo.utils"


def import_open_clip() -> Any:
    """Return the module `open_clip`; the first call takes seconds."""
    with _compiler_postponed():
        return import_module("open_clip")


@contextmanager
def _compiler_postponed() -> Iterator[None]:
    """Import what the block imports without `torch._dynamo`, if it asks for no more than we know.

    Whoever asks for more inside the block gets the real module at once, and everyone does after
    it: a later version of a library may cost the five seconds again, and breaks nothing.
    """
    import torch

    if _UTILS in sys.modules:
        yield
        return
    placeholder, disable = _LateUtils(_UTILS), torch.compiler.disable
    sys.modules[_UTILS] = placeholder
    torch.compiler.disable = _as_it_is
    try:
        yield
    finally:
        torch.compiler.disable = disable
        _withdraw(placeholder)


class _LateUtils(ModuleType):
    """Stands for `torch._dynamo.utils` and imports it when one of its functions is called."""

    @staticmethod
    def is_compile_supported(device_type: object) -> Any:
        """Return what the real function does."""
        return import_module(_UTILS).is_compile_supported(device_type)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # `inspect` asks all modules for their files
            raise AttributeError(name)
        _withdraw(self)
        return getattr(import_module(_UTILS), name)


def _withdraw(placeholder: ModuleType) -> None:
    if sys.modules.get(_UTILS) is placeholder:
        del sys.modules[_UTILS]


def _as_it_is(
    function: Callable[..., Any] | None = None,
    recursive: bool = True,  # noqa: FBT001, FBT002  # as torch's
    *,
    reason: str | None = None,
) -> Any:
    """Return the function unmarked, as `torch.compiler.disable` marks one for the compiler."""
    del recursive, reason
    return function if function is not None else _as_it_is
