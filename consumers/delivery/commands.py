"""python -m consumers deliveries redeliver | hosts: what an operator does with webhooks."""
# ruff: noqa: T201 - a command prints

import argparse
import asyncio
import json
from datetime import datetime
from uuid import UUID

from core.egress.targets import lane_name
from core.errors import TargetForbidden
from core.settings import DatabaseSettings, load
from core.storage.delivery import hosts, redelivery
from core.storage.delivery.hosts import HostState
from core.storage.delivery.redelivery import MAX_LIMIT, Wanted
from core.storage.pool import open_pool

OPERATOR = "operator"
STATES = ("dead", "due", "delivered")


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Describe the commands."""
    commands = parser.add_subparsers(dest="action", required=True)
    again = commands.add_parser("redeliver", help="send webhooks again")
    again.add_argument("--query", type=UUID, help="of this query; any state but under way")
    again.add_argument("--host", type=_lane)
    again.add_argument("--owner")
    again.add_argument("--state", action="append", choices=STATES, help="default: dead (given up)")
    again.add_argument("--since", type=_moment, help="ended at or after, ISO 8601 with a zone")
    again.add_argument("--until", type=_moment)
    again.add_argument("--limit", type=_limit, default=1000)
    again.add_argument("--dry-run", action="store_true", help="only count")
    shown = commands.add_parser("hosts", help="callback hosts: list, disable, resume")
    actions = shown.add_subparsers(dest="change", required=True)
    actions.add_parser("list", help="those that were ever disabled")
    for change in ("disable", "resume"):
        one = actions.add_parser(change)
        one.add_argument("host", type=_lane)
        one.add_argument("--reason", default="")


def run(options: argparse.Namespace) -> int:
    """Do what was asked; the exit code: 1 where there was nothing to do.

    Raises:
        DatabaseAway: PostgreSQL is away.
    """
    if options.action == "redeliver":
        return asyncio.run(_redeliver(_wanted(options), options.limit, dry_run=options.dry_run))
    if options.change == "list":
        return asyncio.run(_list())
    return asyncio.run(_change(options.change, options.host, options.reason))


def _wanted(options: argparse.Namespace) -> Wanted:
    states = options.state or (STATES if options.query else ("dead",))
    return Wanted(
        states=tuple(states),
        owner=options.owner,
        host=options.host,
        query_id=options.query,
        since=options.since,
        until=options.until,
    )


async def _redeliver(wanted: Wanted, limit: int, *, dry_run: bool) -> int:
    async with open_pool(load(DatabaseSettings)) as pool, pool.transaction() as tx:
        matched = await redelivery.count(tx, wanted)
        print("match: " + (", ".join(f"{n} {state}" for state, n in matched.items()) or "none"))
        if dry_run:
            return 0
        done = await redelivery.redeliver(tx, wanted, limit=limit)
    print(f"due now: {len(done.again)} under their ids, {len(done.anew)} as new webhooks")
    return 0 if done.count else 1


async def _list() -> int:
    async with open_pool(load(DatabaseSettings)) as pool, pool.connection() as connection:
        found = await hosts.list_hosts(connection)
    for host in found:
        print(_line(host))
    return 0


def _line(host: HostState) -> str:
    state = "disabled" if host.disabled_at else "enabled"
    changed = host.changed_at.isoformat(timespec="seconds")
    reason = f": {json.dumps(host.reason, ensure_ascii=False)}" if host.reason else ""
    return f"{host.host}  {state}  by {host.actor} {changed}{reason}  waiting: {host.waiting}"


async def _change(change: str, host: str, reason: str) -> int:
    do = hosts.disable if change == "disable" else hosts.resume
    async with open_pool(load(DatabaseSettings)) as pool, pool.transaction() as tx:
        changed = await do(tx, host, actor=OPERATOR, reason=reason)
    print(f"{host}: {change}d" if changed else f"{host}: nothing to change")
    return 0 if changed else 1


def _lane(text: str) -> str:
    try:
        return lane_name(text)
    except TargetForbidden as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text}: give the zone, such as 2026-05-01T00:00:00Z")
    return moment


def _limit(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_LIMIT:
        raise argparse.ArgumentTypeError(f"1 to {MAX_LIMIT}")
    return number
