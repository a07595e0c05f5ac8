"""The command line: `onterms up`, `env`, `routes`, `openapi`, `coverage`, `map`, `audit verify`, `ledger verify`."""

import argparse
import asyncio
import fnmatch
import gc
import json
import logging
import resource
import signal
import sys
from collections import Counter
from pathlib import Path

import uvloop

import onterms
from onterms.app import exports
from onterms.app.catalogue import coverage_lines, map_page, own_document, served_rooms
from onterms.app.postgres import PostgresError
from onterms.app.rooms import House, env_command
from onterms.app.settings import Settings, from_environment
from onterms.business import invoicing
from onterms.core.db import Database
from onterms.core.errors import ConfigError
from onterms.engines import audit
from onterms.engines.api import load
from onterms.engines.ledger import verify_ledger

_log = logging.getLogger("onterms")
_FILES_WANTED = 16_384


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = argparse.ArgumentParser(prog="onterms", description="A communications platform on your own terms.")
    parser.add_argument("--version", action="version", version=onterms.__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start everything and stay in the foreground")
    up.add_argument("--roles", default="api,worker", help="what this process does: api, worker (default: both)")
    up.add_argument("--verbose", action="store_true", help="log more")
    commands.add_parser("env", help="print shell exports for the first account")
    routes = commands.add_parser("routes", help="show which room serves which operation")
    routes.add_argument(
        "pattern", nargs="?", default="*", help="part of a path, host, operation or room; * matches any"
    )
    commands.add_parser("coverage", help="count served operations per product")
    described = commands.add_parser("openapi", help="print the OpenAPI document of one of our own APIs")
    described.add_argument("api", nargs="?", default="commercial", choices=["commercial", "operator", "simulator"])
    document = commands.add_parser("map", help="write the map of floors, rooms and operations")
    document.add_argument("file", type=Path)
    for name, words in (("audit", "the hash chains of the audit trail"), ("ledger", "the invariants of the ledger")):
        checked = commands.add_parser(name, help=f"check {words} of a running install")
        checked.add_argument("action", choices=["verify"])
    options = parser.parse_args(arguments)
    try:
        if options.command == "up":
            return _up(from_environment(roles=frozenset(options.roles.split(","))), verbose=options.verbose)
        if options.command == "env":
            return _env(from_environment())
        if options.command == "routes":
            return _routes(options.pattern)
        if options.command in ("audit", "ledger"):
            return asyncio.run(_verify(from_environment(), options.command))
        if options.command == "openapi":
            print(json.dumps(own_document(options.api), indent=2))
            return 0
        if options.command == "coverage":
            print("\n".join(coverage_lines()))
            return 0
        options.file.write_text(map_page())
        return 0
    except (ConfigError, PostgresError) as error:
        print(f"onterms: {error}", file=sys.stderr)
        return 2


def _up(settings: Settings, *, verbose: bool) -> int:
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    for name in ("asyncio", "aiohttp"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Each connection is a file, and the soft limit is often the one that suits programs with few.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < (wanted := min(hard, _FILES_WANTED) if hard != resource.RLIM_INFINITY else _FILES_WANTED):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    house = House(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, house.stopped.set)
    await house.start()
    _spare_the_collector()
    try:
        _greet(house)
        await house.stopped.wait()
    finally:
        _log.info("stopping")
        await house.stop()
    return house.exit_status


def _spare_the_collector() -> None:
    """Keep what lives as long as the process out of garbage collections.

    The compiled contract alone is a hundred thousand objects, and a full collection walks them all while requests wait:
    46 ms, measured. What requests leave behind is freed by counting references; cycles among it are few.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _greet(house: House) -> None:
    if house.doors is None:
        _log.info("worker %s runs", house.settings.node)
        return
    ports = house.doors.ports
    url = f"http://{house.settings.host}:{ports.http}"
    smpp = house.smpp_ports
    assert smpp is not None, "the doors open together"
    print(
        f"\n  onterms {onterms.__version__} runs at {url}\n\n"
        f"    open      {url}/\n"
        f"    use       {env_command()}\n"
        f"    account   {house.credentials.account_sid}\n"
        f"    number    {house.number}\n"
        f"    handset   {house.settings.handset}\n"
        f"    smpp      {house.settings.host}:{smpp.plain}   smpps {house.settings.host}:{smpp.tls}\n"
        f"    proxy     127.0.0.1:{ports.proxy}   TLS 127.0.0.1:{ports.tls}\n",
        flush=True,
    )


def _env(settings: Settings) -> int:
    try:
        values = json.loads(settings.env_file.read_text())
    except FileNotFoundError:
        raise ConfigError(f"nothing was started with the data folder {settings.data} yet; run: onterms up") from None
    except PermissionError:
        raise ConfigError(f"{settings.env_file} belongs to another user") from None
    sys.stdout.write(exports.shell(values))
    return 0


async def _verify(settings: Settings, what: str) -> int:
    """Check the audit trail or the ledger of an install that runs; 0 where all holds, 1 where something is broken."""
    try:
        dsn = settings.dsn or settings.dsn_file.read_text()
        database = await Database.connect({"dsn": dsn}, connections_max=2)
    except OSError:
        raise ConfigError(f"no install runs with the data folder {settings.data}; run: onterms up") from None
    try:
        if what == "ledger":
            status, lines = await verify_ledger(database, invoicing.open_totals)
            print("\n".join(lines))
            return status
        async with database.snapshot() as tx:
            broken = await audit.verify(tx)
    finally:
        await database.close()
    if broken is None:
        print("the audit trail holds")
        return 0
    print(f"scope {broken.scope}, row {broken.number}: {broken.reason}")
    return 1


def _routes(pattern: str) -> int:
    rooms = served_rooms()
    wanted = pattern if any(mark in pattern for mark in "*?[") else f"*{pattern}*"
    found: Counter[str] = Counter()
    for operation in load():
        room = rooms.get(operation.id, "-")
        line = f"{operation.method:6} https://{operation.host}{operation.path}  {operation.id}  {room}"
        if fnmatch.fnmatchcase(line.lower(), wanted.lower() if wanted.startswith("*") else f"*{wanted.lower()}"):
            print(line)
            found["served" if operation.id in rooms else "not served"] += 1
    print(f"\n{found['served']} served, {found['not served']} not served", file=sys.stderr)
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
