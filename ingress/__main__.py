"""python -m ingress [serve | keys … | endpoints list, remove].

keys create, list, revoke, signing-secret, secret, reseal.

Exit codes: 0 done, 1 something outside is away or there was nothing to do, 2 a wrong setting.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from uuid import UUID

import uvloop

from core.errors import ConfigurationError, PhotoTaggerError
from core.settings import TelemetrySettings, load
from core.storage.keys import INSTANCE, ApiKey
from core.telemetry.logs import configure
from core.webhooks.signing_secrets import make_key as make_secrets_key
from ingress import commands as operating
from ingress.auth.api_keys import Scope

DEFAULT_SCOPES = "upload,query,read"


def main() -> int:
    """Run the command."""
    arguments = _parser().parse_args()
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except ConfigurationError as error:
        print(f"configuration: {error}", file=sys.stderr)
        return 2
    except (PhotoTaggerError, OSError) as error:
        print(f"ingress: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ingress", description=__doc__)
    parser.set_defaults(run=_serve)
    commands = parser.add_subparsers()
    commands.add_parser("serve", help="serve HTTP (the default)").set_defaults(run=_serve)
    key_commands = commands.add_parser("keys", help="API keys").add_subparsers(required=True)
    _add_create(key_commands.add_parser("create", help="make a key; it is shown once"))
    shown = key_commands.add_parser("list", help="list keys, without the keys themselves")
    shown.add_argument("--owner", type=_owner)
    shown.add_argument("--json", action="store_true")
    shown.set_defaults(run=_list)
    ended = key_commands.add_parser("revoke", help="end a key")
    ended.add_argument("key_id")
    ended.set_defaults(run=_revoke)
    rotated = key_commands.add_parser("signing-secret", help="make a new webhook secret")
    whose = rotated.add_mutually_exclusive_group(required=True)
    whose.add_argument("--owner", type=_owner)
    whose.add_argument(
        "--instance",
        action="store_const",
        const=INSTANCE,
        dest="owner",
        help="of the archive itself: signs answers to queries that came straight from a topic",
    )
    whose.add_argument("--endpoint", type=UUID, help="of a registered callback address")
    rotated.add_argument("--rotate", action="store_true", help="the default, and all there is")
    rotated.add_argument(
        "--overlap-hours",
        type=float,
        default=operating.ROTATION.total_seconds() / 3600,
        help="how long the old secrets sign beside the new one",
    )
    rotated.add_argument("--json", action="store_true")
    rotated.set_defaults(run=_rotate)
    _add_endpoints(commands.add_parser("endpoints", help="registered callback addresses"))
    fresh = key_commands.add_parser("secret", help="print a fresh value for SECRETS_KEY")
    fresh.set_defaults(run=_secret)
    resealed = key_commands.add_parser(
        "reseal", help="seal signing secrets with the first key of SECRETS_KEY; the others may go"
    )
    resealed.add_argument("--json", action="store_true")
    resealed.set_defaults(run=_reseal)
    return parser


def _add_endpoints(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True)
    shown = commands.add_parser("list", help="list them, without their secrets")
    shown.add_argument("--owner", type=_owner)
    shown.add_argument("--json", action="store_true")
    shown.set_defaults(run=_list_endpoints)
    removed = commands.add_parser("remove", help="forget one; its webhooks that wait are given up")
    removed.add_argument("endpoint_id", type=UUID)
    removed.add_argument("--json", action="store_true")
    removed.set_defaults(run=_remove_endpoint)


def _add_create(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--owner", type=_owner, required=True)
    parser.add_argument("--name", default="", help="what the key is for")
    parser.add_argument(
        "--scopes", type=_scopes, default=_scopes(DEFAULT_SCOPES), metavar=DEFAULT_SCOPES
    )
    parser.add_argument("--days", type=float, help="how long it is valid; else for ever")
    parser.add_argument(
        "--if-absent", action="store_true", help="do nothing where owner and name have a key"
    )
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=_create)


def _serve(_: argparse.Namespace) -> int:
    # Here, not above: the commands for keys need neither aiohttp nor the routes.
    from ingress.main import serve

    configure(load(TelemetrySettings), process="ingress")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
    return 0


def _create(arguments: argparse.Namespace) -> int:
    lasts = None if arguments.days is None else timedelta(days=arguments.days)
    wanted = operating.Wanted(arguments.owner, arguments.name, arguments.scopes, lasts)
    made = asyncio.run(operating.create(wanted, if_absent=arguments.if_absent))
    if made is None:
        print(json.dumps({"created": False}) if arguments.json else "the key is there already")
    elif arguments.json:
        print(json.dumps({"created": True, **asdict(made)}, default=datetime.isoformat))
    else:
        print(f"key (shown once):            {made.key}")
        secret = made.signing_secret or "(as before: see keys signing-secret)"
        print(f"signing secret (shown once): {secret}")
        print(f"id {made.key_id}, owner {made.owner}, scopes {', '.join(made.scopes)}")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    found = asyncio.run(operating.list_keys(arguments.owner))
    if arguments.json:
        rows = [{k: v for k, v in asdict(key).items() if k != "digest"} for key in found]
        print(json.dumps(rows, default=datetime.isoformat))
        return 0
    for key in found:
        print(_line(key))
    return 0


def _line(key: ApiKey) -> str:
    used = key.last_used_at.isoformat(timespec="seconds") if key.last_used_at else "never"
    state = "revoked" if key.revoked_at else "usable"
    if key.expires_at:
        state += f" until {key.expires_at.isoformat(timespec='seconds')}"
    name = f" ({key.name})" if key.name else ""
    return f"{key.key_id}  {key.owner}{name}  {','.join(key.scopes)}  {state}  used: {used}"


def _revoke(arguments: argparse.Namespace) -> int:
    if asyncio.run(operating.revoke(arguments.key_id)):
        print(f"{arguments.key_id} is revoked; running processes notice within 5 s")
        return 0
    print(f"no usable key {arguments.key_id}", file=sys.stderr)
    return 1


def _rotate(arguments: argparse.Namespace) -> int:
    overlap = timedelta(hours=arguments.overlap_hours)
    if arguments.endpoint is None:
        secret = asyncio.run(operating.rotate_secret(arguments.owner, overlap))
    else:
        secret = asyncio.run(operating.rotate_endpoint_secret(arguments.endpoint, overlap))
    print(json.dumps({"signing_secret": secret}) if arguments.json else secret)
    return 0


def _list_endpoints(arguments: argparse.Namespace) -> int:
    found = asyncio.run(operating.list_endpoints(arguments.owner))
    if arguments.json:
        print(json.dumps([asdict(one) for one in found], default=str))
        return 0
    for one in found:
        name = f" ({one.name})" if one.name else ""
        print(f"{one.endpoint_id}  {one.owner}{name}  {one.url}")
    return 0


def _remove_endpoint(arguments: argparse.Namespace) -> int:
    removed = asyncio.run(operating.remove_endpoint(arguments.endpoint_id))
    if arguments.json:
        print(json.dumps({**asdict(removed.endpoint), "given_up": removed.given_up}, default=str))
        return 0
    print(f"removed {removed.endpoint.url}; webhooks given up: {removed.given_up}")
    return 0


def _reseal(arguments: argparse.Namespace) -> int:
    def tell(so_far: operating.Resealed) -> None:
        print(f"{so_far.fresh + so_far.sealed} secrets", file=sys.stderr)

    done = asyncio.run(operating.reseal(tell))
    if arguments.json:
        print(json.dumps(asdict(done)))
    else:
        print(f"sealed anew: {done.sealed}; sealed with the newest key before: {done.fresh}")
    for problem in done.unopened:
        print(f"left as it is: {problem}", file=sys.stderr)
    if done.unopened:
        print("keep the older keys in SECRETS_KEY until these are mended", file=sys.stderr)
    return 1 if done.unopened else 0


def _secret(_: argparse.Namespace) -> int:
    print(make_secrets_key())
    return 0


def _owner(text: str) -> str:
    if not text.strip() or len(text) > operating.MAX_OWNER_CHARS or not text.isprintable():
        raise argparse.ArgumentTypeError(f"1 to {operating.MAX_OWNER_CHARS} printable characters")
    return text


def _scopes(text: str) -> tuple[Scope, ...]:
    try:
        return tuple(Scope(part.strip()) for part in text.split(","))
    except ValueError as error:
        known = ", ".join(scope.value for scope in Scope)
        raise argparse.ArgumentTypeError(f"{error}; scopes: {known}") from error


if __name__ == "__main__":
    sys.exit(main())
