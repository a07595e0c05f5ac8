"""All SQL of the simulator's mailboxes. An address is kept in lower case, as most servers treat it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from onterms.core.db import Row, Tx

_MAIL = "id, address, message_id, sender, subject, body, attachments, raw, at, bounced_at"


@dataclass(frozen=True, slots=True)
class Setting:
    """How the server of an address treats mail."""

    behaviour: str = "accept"
    delay_s: int = 0
    bounce_after_s: int = 0


@dataclass(frozen=True, slots=True)
class StoredMail:
    """A mail as its mailbox keeps it."""

    id: int
    address: str
    message_id: str
    sender: str
    subject: str
    body: str
    attachments: tuple[dict[str, str | int], ...]
    raw: bytes
    at: datetime
    bounced_at: datetime | None


@dataclass(frozen=True, slots=True)
class Box:
    """An address that has a setting or mail."""

    address: str
    setting: Setting
    mails: int
    last_at: datetime | None


def _stored(row: Row) -> StoredMail:
    return StoredMail(**{**dict(row.items()), "attachments": tuple(row["attachments"])})


async def setting_of(tx: Tx, address: str) -> Setting:
    """Return how an address behaves."""
    row = await tx.fetchrow(
        "SELECT behaviour, delay_s, bounce_after_s FROM mailbox_settings WHERE address = $1", address
    )
    return Setting() if row is None else Setting(**dict(row.items()))


async def set_setting(tx: Tx, address: str, setting: Setting) -> None:
    """Say how an address behaves."""
    await tx.execute(
        """
        INSERT INTO mailbox_settings (address, behaviour, delay_s, bounce_after_s) VALUES ($1, $2, $3, $4)
        ON CONFLICT (address) DO UPDATE SET behaviour = excluded.behaviour, delay_s = excluded.delay_s,
               bounce_after_s = excluded.bounce_after_s
        """,
        address,
        setting.behaviour,
        setting.delay_s,
        setting.bounce_after_s,
    )


async def delete_setting(tx: Tx, address: str) -> None:
    """Let an address behave as a new one."""
    await tx.execute("DELETE FROM mailbox_settings WHERE address = $1", address)


async def first_offer(tx: Tx, address: str, message_id: str, at: datetime) -> datetime:
    """Return when a mail was first offered, which is now if it never was."""
    first: datetime = await tx.fetchval(
        """
        INSERT INTO mailbox_offers (address, message_id, at) VALUES ($1, $2, $3)
        ON CONFLICT (address, message_id) DO UPDATE SET at = mailbox_offers.at RETURNING at
        """,
        address,
        message_id,
        at,
    )
    return first


async def put(tx: Tx, mail: StoredMail) -> bool:
    """Keep a mail; False when the mailbox has it already."""
    count = await tx.execute(
        """
        INSERT INTO mailbox_mails (address, message_id, sender, subject, body, attachments, raw, at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (address, message_id) DO NOTHING
        """,
        mail.address,
        mail.message_id,
        mail.sender,
        mail.subject,
        mail.body,
        list(mail.attachments),
        mail.raw,
        mail.at,
    )
    return count == 1


async def get(tx: Tx, address: str, message_ids: Sequence[str]) -> list[StoredMail]:
    """Return mails of a mailbox by their ids, locked, oldest first."""
    rows = await tx.fetch(
        f"""
        SELECT {_MAIL} FROM mailbox_mails WHERE address = $1 AND message_id = ANY($2::text[]) ORDER BY id FOR UPDATE
        """,
        address,
        list(message_ids),
    )
    return [_stored(row) for row in rows]


async def list_mails(tx: Tx, address: str, after: int, limit: int) -> list[StoredMail]:
    """List a mailbox, oldest first, after a place."""
    rows = await tx.fetch(
        f"SELECT {_MAIL} FROM mailbox_mails WHERE address = $1 AND id > $2 ORDER BY id LIMIT $3", address, after, limit
    )
    return [_stored(row) for row in rows]


async def mark_bounced(tx: Tx, address: str, message_ids: Sequence[str], at: datetime) -> None:
    """Mark mails as given up."""
    await tx.execute(
        """
        UPDATE mailbox_mails SET bounced_at = $3
        WHERE address = $1 AND message_id = ANY($2::text[]) AND bounced_at IS NULL
        """,
        address,
        list(message_ids),
        at,
    )


async def empty(tx: Tx, address: str) -> int:
    """Delete the mails of a mailbox and return how many there were."""
    await tx.execute("DELETE FROM mailbox_offers WHERE address = $1", address)
    return await tx.execute("DELETE FROM mailbox_mails WHERE address = $1", address)


async def boxes(tx: Tx, addresses: Sequence[str] | None, limit: int) -> list[Box]:
    """List mailboxes that have mail or a setting, or those named, the one with the newest mail first."""
    rows = await tx.fetch(
        """
        SELECT known.address, coalesce(s.behaviour, 'accept') AS behaviour, coalesce(s.delay_s, 0) AS delay_s,
               coalesce(s.bounce_after_s, 0) AS bounce_after_s, coalesce(m.mails, 0) AS mails, m.last_at, m.last_id
        FROM (SELECT address FROM mailbox_mails UNION SELECT address FROM mailbox_settings
              UNION SELECT unnest($1::text[])) AS known
        LEFT JOIN mailbox_settings s ON s.address = known.address
        LEFT JOIN (SELECT address, count(*) AS mails, max(at) AS last_at, max(id) AS last_id
                   FROM mailbox_mails GROUP BY address) AS m ON m.address = known.address
        WHERE $1::text[] IS NULL OR known.address = ANY($1::text[])
        ORDER BY m.last_id DESC NULLS LAST, known.address LIMIT $2
        """,
        None if addresses is None else list(addresses),
        limit,
    )
    return [
        Box(
            row["address"],
            Setting(row["behaviour"], row["delay_s"], row["bounce_after_s"]),
            row["mails"],
            row["last_at"],
        )
        for row in rows
    ]
