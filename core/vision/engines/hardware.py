"""Choose device and precision by the hardware."""

from pathlib import Path

from core.errors import ConfigurationError

# Without these flags bf16 measured nine times slower than fp32 (docs/research/clip.md, section 4).
_NATIVE_BF16 = frozenset({"amx_bf16", "avx512_bf16"})


def choose_device(wanted: str) -> str:
    """Return the device: `auto` is CUDA where there is one.

    Raises:
        ConfigurationError: a CUDA device is asked for and there is none.
    """
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    name, _, number = wanted.partition(":")
    if name not in {"cpu", "cuda"} or not (number or "0").isdecimal():
        raise ConfigurationError(f"TAGGING_DEVICE={wanted}: must be auto, cpu, cuda or cuda:N")
    if name == "cuda" and (
        not torch.cuda.is_available() or int(number or 0) >= torch.cuda.device_count()
    ):
        raise ConfigurationError(
            f"TAGGING_DEVICE={wanted}: torch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices"
        )
    return name if name == "cpu" else wanted


def choose_precision(wanted: str, device: str, flags: frozenset[str] | None = None) -> str:
    """Return the precision: `auto` is fp16 on CUDA, bf16 on a CPU with such units, else fp32.

    Args:
        wanted: `auto`, `fp32`, `bf16` or `fp16`.
        device: `cpu`, `cuda` or `cuda:N`.
        flags: the processor's; None: of this one.

    Raises:
        ConfigurationError: a precision that the CPU can only emulate.
    """
    if device != "cpu":
        return "fp16" if wanted == "auto" else wanted
    native = has_native_bf16(flags)
    if wanted == "fp16" or (wanted == "bf16" and not native):
        raise ConfigurationError(f"TAGGING_PRECISION={wanted}: this processor has no units for it")
    if wanted == "auto":
        return "bf16" if native else "fp32"
    return wanted


def has_native_bf16(flags: frozenset[str] | None = None) -> bool:
    """Return whether the processor lists units for bf16; they may still be slower than fp32's."""
    return bool(_NATIVE_BF16 & (cpu_flags() if flags is None else flags))


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the processor's feature flags; empty where the kernel does not list them."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return frozenset()
    flags = (line.partition(":")[2] for line in lines if line.startswith("flags"))
    return frozenset(next(flags, "").split())
