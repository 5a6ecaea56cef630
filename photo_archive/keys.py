"""`keys`: API keys and the secrets that sign webhooks."""

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from photo_archive.running import Json, command_group, ending, print_json, run

if TYPE_CHECKING:
    from core.storage.keys import ApiKey
    from ingress.auth.api_keys import Scope
    from ingress.commands import Resealed

DEFAULT_SCOPES = "upload,query,read"
MAX_DAYS, MAX_HOURS = 36_500, 876_000  # a century; some time later datetime ends

app = command_group("API keys, and the secrets that sign webhooks.")


def read_owner(text: str) -> str:
    """Return an owner's name as it is stored."""
    from ingress.commands import MAX_OWNER_CHARS

    if not text.strip() or len(text) > MAX_OWNER_CHARS or not text.isprintable():
        raise typer.BadParameter(f"1 to {MAX_OWNER_CHARS} printable characters")
    return text


Owner = Annotated[
    str | None, typer.Option(parser=read_owner, metavar="NAME", help="Only this owner's.")
]


@app.command(
    epilog=ending(
        "photo-archive keys create --owner me",
        "photo-archive keys create --owner me --scopes upload,query,read --days 90 --json",
    )
)
def create(
    owner: Annotated[str, typer.Option(parser=read_owner, metavar="NAME", help="Whose key.")],
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    scopes: Annotated[str, typer.Option(help="Separated by commas.")] = DEFAULT_SCOPES,
    days: Annotated[
        float | None,
        typer.Option(min=0, max=MAX_DAYS, help="How long it is valid; else for ever."),
    ] = None,
    if_absent: Annotated[
        bool, typer.Option("--if-absent", help="Do nothing where owner and name have a key.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a key, and its owner's signing secret where there is none; both are shown once."""
    lasts = None if days is None else timedelta(days=days)
    run(_create(owner, name, read_scopes(scopes), lasts, if_absent=if_absent, as_json=as_json))


@app.command("list", epilog=ending("photo-archive keys list --owner me"))
def list_keys(owner: Owner = None, as_json: Json = False) -> None:
    """Show the keys, without the keys themselves."""
    run(_list(owner, as_json=as_json))


@app.command(
    epilog=ending(
        "photo-archive keys revoke 3f2a9c1b",
        one="there is no such usable key, or PostgreSQL is away",
    )
)
def revoke(key_id: Annotated[str, typer.Argument(help="As `keys list` shows it.")]) -> None:
    """End a key, everywhere within 5 seconds."""
    run(_revoke(key_id))


@app.command(
    "signing-secret",
    epilog=ending(
        "photo-archive keys signing-secret --owner me",
        "photo-archive keys signing-secret --instance",
        one="there is no such address, or PostgreSQL is away",
    ),
)
def signing_secret(
    owner: Annotated[
        str | None, typer.Option(parser=read_owner, metavar="NAME", help="Of a key's owner.")
    ] = None,
    instance: Annotated[
        bool,
        typer.Option(
            "--instance", help="Of the archive itself: for queries that came straight from a topic."
        ),
    ] = False,
    endpoint: Annotated[UUID | None, typer.Option(help="Of a registered callback address.")] = None,
    overlap_hours: Annotated[
        float | None,
        typer.Option(
            min=0, max=MAX_HOURS, help="How long the old secrets sign beside the new one; else 24."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a new signing secret and show it once."""
    if (owner is not None) + instance + (endpoint is not None) != 1:
        raise typer.BadParameter("give one of --owner, --instance and --endpoint")
    run(_rotate(owner, endpoint, overlap_hours, as_json=as_json))


@app.command(
    epilog=ending("photo-archive keys secret", one="never"),
)
def secret() -> None:
    """Print a fresh value for SECRETS_KEY."""
    from core.webhooks.signing_secrets import make_key

    typer.echo(make_key())


@app.command(
    epilog=ending(
        "photo-archive keys reseal",
        one="a secret could not be opened and was left as it is, or PostgreSQL is away",
    )
)
def reseal(as_json: Json = False) -> None:
    """Seal all signing secrets with the first key of SECRETS_KEY, so that the others may go."""
    run(_reseal(as_json=as_json))


async def _create(
    owner: str,
    name: str,
    scopes: "tuple[Scope, ...]",
    lasts: timedelta | None,
    *,
    if_absent: bool,
    as_json: bool,
) -> int:
    from ingress import commands

    wanted = commands.KeyRequest(owner, name, scopes, lasts)
    made = await commands.create(wanted, if_absent=if_absent)
    if as_json:
        print_json({"created": False} if made is None else {"created": True, **asdict(made)})
    elif made is None:
        typer.echo("the key is there already")
    else:
        secret = made.signing_secret or "(as before: see keys signing-secret)"
        typer.echo(f"key (shown once):            {made.key}")
        typer.echo(f"signing secret (shown once): {secret}")
        typer.echo(f"id {made.key_id}, owner {made.owner}, scopes {', '.join(made.scopes)}")
    return 0


async def _list(owner: str | None, *, as_json: bool) -> int:
    from ingress import commands

    found = await commands.list_keys(owner)
    if as_json:
        print_json([{k: v for k, v in asdict(key).items() if k != "digest"} for key in found])
    else:
        for key in found:
            typer.echo(_line(key))
    return 0


def _line(key: "ApiKey") -> str:
    used = key.last_used_at.isoformat(timespec="seconds") if key.last_used_at else "never"
    state = "revoked" if key.revoked_at else "usable"
    if key.expires_at:
        state += f" until {key.expires_at.isoformat(timespec='seconds')}"
    name = f" ({key.name})" if key.name else ""
    return f"{key.key_id}  {key.owner}{name}  {','.join(key.scopes)}  {state}  used: {used}"


async def _revoke(key_id: str) -> int:
    from ingress import commands

    if await commands.revoke(key_id):
        typer.echo(f"{key_id} is revoked; running processes notice within 5 s")
        return 0
    typer.echo(f"no usable key {key_id}", err=True)
    return 1


async def _rotate(
    owner: str | None, endpoint: UUID | None, overlap_hours: float | None, *, as_json: bool
) -> int:
    from core.storage.keys import INSTANCE
    from ingress import commands

    overlap = commands.ROTATION if overlap_hours is None else timedelta(hours=overlap_hours)
    if endpoint is None:
        made = await commands.rotate_secret(INSTANCE if owner is None else owner, overlap)
    else:
        made = await commands.rotate_endpoint_secret(endpoint, overlap)
    print_json({"signing_secret": made}) if as_json else typer.echo(made)
    return 0


async def _reseal(*, as_json: bool) -> int:
    from ingress import commands

    def tell(so_far: "Resealed") -> None:
        typer.echo(f"{so_far.fresh + so_far.sealed} secrets", err=True)

    done = await commands.reseal(tell)
    if as_json:
        print_json(done)
    else:
        typer.echo(f"sealed anew: {done.sealed}; sealed with the newest key before: {done.fresh}")
    for problem in done.unopened:
        typer.echo(f"left as it is: {problem}", err=True)
    if done.unopened:
        typer.echo("keep the older keys in SECRETS_KEY until these are mended", err=True)
    return 1 if done.unopened else 0


def read_scopes(text: str) -> "tuple[Scope, ...]":
    """Return the scopes that a text names."""
    from ingress.auth.api_keys import Scope

    try:
        return tuple(Scope(part.strip()) for part in text.split(","))
    except ValueError as error:
        known = ", ".join(scope.value for scope in Scope)
        raise typer.BadParameter(f"--scopes: {error}; scopes: {known}") from error
