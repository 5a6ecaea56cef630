"""What a tagging process imports, looked at in a process of its own."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def in_new_process(source: str) -> str:
    """Return what the source prints."""
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_loading_and_running_a_model_never_imports_the_compiler() -> None:
    printed = in_new_process("""
import sys
import numpy as np
from core.settings import TaggingSettings
from core.vision.engines.choosing import open_towers

towers = open_towers(TaggingSettings(model="demo", engine="torch"))
form = towers.pixel_format(fast=True)
towers.encode_pixels(np.zeros((1, form.height, form.width, 3), np.uint8))
towers.encode_texts(["a photo of a cat"])
print([name for name in sys.modules if name.startswith("torch._dynamo")])
""")
    assert printed.splitlines()[-1] == "[]"


def test_the_compiler_is_there_afterwards_for_those_who_want_it() -> None:
    printed = in_new_process("""
import torch
from core.vision.importing import import_open_clip

disable = torch.compiler.disable
import_open_clip()
assert torch.compiler.disable is disable
import torch._dynamo.utils
from torchvision.ops import roi_align
from torchvision.ops.roi_align import is_compile_supported
assert is_compile_supported("cpu") == torch._dynamo.utils.is_compile_supported("cpu")
assert "counters" in vars(torch._dynamo.utils)
print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item())
""")
    assert printed.splitlines()[-1] == "2.0"


def test_a_library_that_asks_for_more_of_the_compiler_gets_it() -> None:
    printed = in_new_process("""
import sys
from core.vision import importing

with importing._compiler_postponed():
    from torch._dynamo.utils import counters
    import torch._dynamo.config
    print(type(counters).__name__)
importing.import_open_clip()
import torch._dynamo.utils
print(torch._dynamo.utils.counters is counters)
""")
    assert printed.split() == ["defaultdict", "True"]
