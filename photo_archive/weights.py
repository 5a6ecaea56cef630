"""`weights`: files of CLIP weights that people have, made into what the archive loads."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from photo_archive.running import Json, command_group, ending, print_json, run

app = command_group("Files of CLIP weights.")


class Activation(StrEnum):
    """What lies between a model's layers; nothing in its weights tells."""

    QUICK_GELU = "quick_gelu"
    GELU = "gelu"


@app.callback()
def group() -> None:
    """Keep `convert` a word of its own, though it is the only one."""


@app.command(
    epilog=ending(
        "photo-archive weights convert ~/.cache/clip/ViT-B-32.pt",
        "photo-archive weights convert ViT-L-14.pt --to models/ViT-L-14",
        one="the folder could not be written",
        zero="converted; the last line is the setting that uses it",
    )
)
def convert(
    file: Annotated[Path, typer.Argument(help="A TorchScript archive, as openai publishes them.")],
    to: Annotated[
        Path | None, typer.Option(help="The folder to make; without: named as the file, beside it.")
    ] = None,
    activation: Annotated[
        Activation | None,
        typer.Option(help="Only where neither the file's hash nor its own modules say."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a folder of .safetensors and its configuration from a TorchScript archive.

    The archive's program is not run: its table of tensors is read in the sandbox of the decoders,
    and the numbers are copied.
    """
    run(
        _convert(file.expanduser(), to.expanduser() if to else None, activation, as_json=as_json),
        asks_servers=False,
    )


async def _convert(
    file: Path, to: Path | None, activation: Activation | None, *, as_json: bool
) -> int:
    from core.vision.checkpoints import converting

    folder = (to or file.with_suffix("")).absolute()
    wanted = None if activation is None else activation is Activation.QUICK_GELU
    done = await converting.convert(file, folder, quick_gelu=wanted)
    if as_json:
        print_json(done)
        return 0
    name = "QuickGELU" if done.quick_gelu else "GELU"
    known = f", known as {done.known_as}" if done.known_as else ""
    typer.echo(f"{done.folder}: {done.tensors} tensors, {name}{known}")
    typer.echo(f"TAGGING_MODEL=local-dir:{done.folder}")
    return 0
