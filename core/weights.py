"""Where the weights of a model may be: a file somebody named, the hub's cache, the hub itself.

Imports nothing of the model's libraries, since the process that chooses a model for this machine
asks too. Each question to the hub is asked once: huggingface_hub would repeat one that nobody
answers for 23 s, and open_clip asks for one file name after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ConfigurationError

#: What open_clip calls the weights of a repository, the safe format first.
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
#: To the answer about one file. A process under a supervisor must not look as if it hung.
PATIENCE_S = 10.0
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".npz", ".npy")
_NOT_FOUND = 404


class WeightsMissing(ConfigurationError):
    """Weights are neither on this machine nor to be had from the hub; the message says why."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file that the hub has.

    Attributes:
        repository: `owner/name`.
        name: of the file in it.
        size_bytes: None where the hub does not say.
    """

    repository: str
    name: str
    size_bytes: int | None


def named_file(pretrained: str) -> Path | None:
    """Return the file that `TAGGING_PRETRAINED` names; None where it looks like a tag.

    Raises:
        ConfigurationError: there is no such file.
    """
    is_path = "/" in pretrained or pretrained.startswith("~") or pretrained.endswith(_SUFFIXES)
    return existing_file(pretrained) if is_path else None


def existing_file(pretrained: str) -> Path:
    """Return the path to a file.

    Raises:
        ConfigurationError: it is a folder, or nothing.
    """
    path = expanded(pretrained)
    if path.is_dir():
        raise ConfigurationError(
            f"TAGGING_PRETRAINED={pretrained}: a folder. For a folder with weights and their"
            f" open_clip_config.json set TAGGING_MODEL=local-dir:{path}; else name the file in it"
        )
    if not path.is_file():
        raise ConfigurationError(f"TAGGING_PRETRAINED={pretrained}: there is no file {path}")
    return path


def expanded(path: str) -> Path:
    """Return the path with `~` replaced by the home, as a shell does where nothing is quoted."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # there is no such user
        return Path(path)


def is_offline() -> bool:
    """Return whether asking the hub is forbidden, by `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`."""
    from huggingface_hub import constants

    return constants.is_offline_mode()


def cached(repository: str, names: Sequence[str]) -> Path | None:
    """Return the first of the files that the hub's cache has; nothing is asked or downloaded.

    A snapshot that was copied without `refs/main`, which says which one is meant, is found as well:
    of several the newest.
    """
    from huggingface_hub import try_to_load_from_cache

    for name in names:
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return Path(found)
    return _in_a_copied_snapshot(repository, names)


def _in_a_copied_snapshot(repository: str, names: Sequence[str]) -> Path | None:
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    if (folder / "refs" / "main").exists():
        return None  # it says which snapshot is meant, and that one has none of the files
    snapshots = sorted(folder.glob("snapshots/*/"), key=lambda each: each.stat().st_mtime)
    for snapshot in reversed(snapshots):
        for name in names:
            if (snapshot / name).is_file():
                return snapshot / name
    return None


def _quiet_hub() -> Any:
    """Return the hub's client, which then asks for what it is asked for and for nothing else.

    Left alone, huggingface_hub 2.4 tells in each request which programs are installed here, and
    fetches a list of programs to look for first.
    """
    import huggingface_hub
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True
    return huggingface_hub


def ask(repository: str, names: Sequence[str], timeout_s: float = PATIENCE_S) -> HubFile:
    """Return the first of the files that the hub has: one short request for each name.

    Raises:
        WeightsMissing: asking is forbidden, nobody answers, or the hub has none of them.
    """
    hub = _quiet_hub()
    constants = hub.constants
    if is_offline():
        raise WeightsMissing(
            f"{repository} is not in {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE forbids asking"
        )
    for name in names:
        try:
            found = hub.get_hf_file_metadata(hub.hf_hub_url(repository, name), timeout=timeout_s)
        except Exception as error:
            # Whatever its HTTP library raises; only "there is no such file" is an answer.
            if getattr(getattr(error, "response", None), "status_code", None) == _NOT_FOUND:
                continue
            raise WeightsMissing(
                f"{repository} is not in {constants.HF_HUB_CACHE}, and {constants.ENDPOINT} does"
                f" not give it: {_told(error)}"
            ) from error
        return HubFile(repository, name, found.size)
    raise WeightsMissing(f"{constants.ENDPOINT} has no {' and no '.join(names)} of {repository}")


def at_hand(repository: str, names: Sequence[str]) -> Path:
    """Return the first of the files, from the cache or else from the hub.

    Raises:
        WeightsMissing: it can be had from neither.
    """
    return cached(repository, names) or _downloaded(ask(repository, names))


def _downloaded(file: HubFile) -> Path:
    try:
        return Path(_quiet_hub().hf_hub_download(file.repository, file.name))
    except Exception as error:  # as above
        raise WeightsMissing(
            f"{file.repository}: {file.name} cannot be downloaded: {_told(error)}"
        ) from error


def _told(error: Exception) -> str:
    told = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    if "CERTIFICATE_VERIFY_FAILED" in told:
        return f"{told}. For a certificate authority of your own set SSL_CERT_FILE"
    return told
