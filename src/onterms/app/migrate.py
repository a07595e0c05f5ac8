"""Bring the database to the state this release needs: numbered plain SQL, forward only.

All pending files run in one transaction under one advisory lock, so a node sees either the old release's tables or the
new one's, and nodes that start together wait for the first. A file that was applied never changes; the fingerprint kept
beside its name proves it.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from onterms.core.db import Database
from onterms.core.errors import ConfigError

# Any constant will do; this one is the ASCII of "onterms".
_LOCK = 0x6F6E7465726D73
_NAME = re.compile(r"^\d{4}_[a-z0-9_]+\.sql$")


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered SQL file."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def packaged_migrations() -> list[Migration]:
    """Read the SQL files of this release, in order."""
    folder = resources.files("onterms.app").joinpath("migrations")
    found = [entry for entry in folder.iterdir() if _NAME.match(entry.name)]
    return [Migration(entry.name, entry.read_text("utf-8")) for entry in sorted(found, key=lambda entry: entry.name)]


async def migrate(database: Database, migrations: Sequence[Migration] | None = None) -> list[str]:
    """Apply what is pending and return the names applied.

    Raises: ConfigError when the database is newer than this release or a file changed after it was applied.
    """
    wanted = packaged_migrations() if migrations is None else migrations
    async with database.transaction() as tx:
        await tx.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        # IF NOT EXISTS raises a notice when it exists, so ask first.
        if await tx.fetchval("SELECT to_regclass('schema_migrations')") is None:
            await tx.execute(
                "CREATE TABLE schema_migrations (name text PRIMARY KEY, sha256 text NOT NULL, "
                "applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
            )
        applied = {row["name"]: row["sha256"] for row in await tx.fetch("SELECT name, sha256 FROM schema_migrations")}
        pending = _pending(wanted, applied)
        for migration in pending:
            await tx.execute(migration.sql)
            await tx.execute(
                "INSERT INTO schema_migrations (name, sha256) VALUES ($1, $2)", migration.name, migration.sha256
            )
    return [migration.name for migration in pending]


def _pending(wanted: Sequence[Migration], applied: dict[str, str]) -> list[Migration]:
    unknown = sorted(applied.keys() - {migration.name for migration in wanted})
    if unknown:
        raise ConfigError(
            f"The database has migrations this release does not know ({', '.join(unknown)}): a newer onterms wrote it. "
            "Run that release, or restore a backup made before the upgrade."
        )
    newest = max(applied, default="")
    for migration in wanted:
        if migration.name not in applied:
            if migration.name < newest:
                raise ConfigError(
                    f"Migration {migration.name} was never applied, but the later {newest} was; "
                    "this release and the database do not belong together."
                )
        elif applied[migration.name] != migration.sha256:
            raise ConfigError(
                f"Migration {migration.name} changed after it was applied; install an unmodified release."
            )
    return [migration for migration in wanted if migration.name not in applied]
