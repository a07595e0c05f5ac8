"""Fixtures for every test: one PostgreSQL cluster a process, a fresh migrated database and a clock a test."""

import asyncio
import contextlib
import fcntl
import itertools
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from onterms.app.migrate import migrate
from onterms.app.postgres import EmbeddedPostgres
from onterms.core.clock import VirtualClock
from onterms.core.db import Database
from onterms.engines.api.own import CHECKING

_TEMPLATE = "onterms_template"
_numbers = itertools.count(1)


# Every answer of our own APIs, in whatever test, must be what its route declares.
CHECKING.answers = True


def _memory_folder() -> str | None:
    # Making a database takes 15 ms in memory and up to 400 ms on a disk. Containers often have 64 MB there, too little.
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < 2 << 30:
        return None
    return str(memory)


def _remove_leftovers(parent: Path) -> None:
    """End the servers of test runs that were killed, which would keep their memory for ever."""
    for folder in parent.glob("onterms-test-*"):
        # A killed run's lock is free; a young folder's may be free because its owner is just about to take it.
        with contextlib.suppress(OSError, ValueError):
            if time.time() - folder.stat().st_mtime < 60:
                continue
            with (folder / "postgres.lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                cluster = folder / "postgres" / "data"
                with contextlib.suppress(OSError, ValueError):
                    pid = int((cluster / "postmaster.pid").read_text().split("\n", 1)[0])
                    if os.fsencode(cluster) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                        os.kill(pid, signal.SIGQUIT)
                shutil.rmtree(folder, ignore_errors=True)


async def _make_template(dsn: str) -> None:
    admin = await asyncpg.connect(dsn)
    # Tests prove nothing about power cuts, and without waiting for the disk they take half the time.
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        await admin.execute(f"ALTER SYSTEM SET {setting} = off")
    await admin.execute("SELECT pg_reload_conf()")
    await admin.execute(f"CREATE DATABASE {_TEMPLATE}")
    await admin.close()
    database = await Database.connect({"dsn": dsn, "database": _TEMPLATE}, connections_max=1)
    await migrate(database)
    await database.close()


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """Start a cluster for this process's tests and return the DSN of its own, empty database."""
    parent = Path(_memory_folder() or tempfile.gettempdir())
    _remove_leftovers(parent)
    folder = Path(tempfile.mkdtemp(prefix="onterms-test-", dir=parent))
    # The server runs as another user where the tests run as root.
    folder.chmod(0o711)
    server = EmbeddedPostgres(folder)
    loop = asyncio.new_event_loop()
    try:
        dsn = loop.run_until_complete(server.start())
        try:
            loop.run_until_complete(_make_template(dsn))
            yield dsn
        finally:
            loop.run_until_complete(server.stop())
    finally:
        loop.close()
        shutil.rmtree(folder, ignore_errors=True)


async def _create_database(dsn: str, template: str) -> AsyncIterator[dict[str, Any]]:
    name = f"test_{next(_numbers)}"
    admin = await asyncpg.connect(dsn)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    await admin.close()
    yield {"dsn": dsn, "database": name}
    admin = await asyncpg.connect(dsn)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def connect_args(postgres_dsn: str) -> AsyncIterator[dict[str, Any]]:
    """Make a fresh migrated database and return how to connect to it."""
    async for args in _create_database(postgres_dsn, _TEMPLATE):
        yield args


@pytest.fixture
async def empty_connect_args(postgres_dsn: str) -> AsyncIterator[dict[str, Any]]:
    """Make a database without any table and return how to connect to it."""
    async for args in _create_database(postgres_dsn, "template1"):
        yield args


@pytest.fixture
async def database(connect_args: dict[str, Any]) -> AsyncIterator[Database]:
    """Open a fresh migrated database."""
    database = await Database.connect(connect_args)
    yield database
    await database.close()


@pytest.fixture
def clock() -> VirtualClock:
    """Make a clock that stands still until the test moves it with `hold`."""
    return VirtualClock(held_at=datetime(2030, 1, 1, 12, 0, tzinfo=UTC))
