"""All SQL of the simulated WhatsApp network."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from onterms.core.db import Row, Tx


async def number(tx: Tx, phone_number_id: str) -> Row | None:
    """Return a business's number."""
    return await tx.fetchrow("SELECT * FROM simulator_whatsapp_numbers WHERE phone_number_id = $1", phone_number_id)


async def number_of(tx: Tx, digits: str) -> Row | None:
    """Return a business's number by its digits, where it is registered."""
    return await tx.fetchrow("SELECT * FROM simulator_whatsapp_numbers WHERE number = $1 AND is_registered", digits)


async def numbers(tx: Tx, waba_id: str) -> list[Row]:
    """Return a business account's numbers."""
    return await tx.fetch(
        "SELECT * FROM simulator_whatsapp_numbers WHERE waba_id = $1 ORDER BY phone_number_id", waba_id
    )


async def add_number(
    tx: Tx, phone_number_id: str, waba_id: str, digits: str, name: str, *, is_verified: bool
) -> Row | None:
    """Add a number; None where it is in an account already."""
    return await tx.fetchrow(
        """INSERT INTO simulator_whatsapp_numbers (phone_number_id, waba_id, number, name, is_verified)
           VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING *""",
        phone_number_id,
        waba_id,
        digits,
        name,
        is_verified,
    )


async def change_number(tx: Tx, phone_number_id: str, changes: Mapping[str, Any]) -> None:
    """Change a number's code, verification, registration or profile."""
    names = [name for name in ("code", "is_verified", "is_registered", "profile") if name in changes]
    sets = ", ".join(f"{name} = ${index}" for index, name in enumerate(names, 2))
    await tx.execute(
        f"UPDATE simulator_whatsapp_numbers SET {sets} WHERE phone_number_id = $1",
        phone_number_id,
        *(changes[name] for name in names),
    )


async def heard_at(tx: Tx, phone_number_id: str, handset: str) -> datetime | None:
    """Return when a handset last wrote to a number."""
    found: datetime | None = await tx.fetchval(
        "SELECT heard_at FROM simulator_whatsapp_chats WHERE phone_number_id = $1 AND handset = $2",
        phone_number_id,
        handset,
    )
    return found


async def hear(tx: Tx, phone_number_id: str, handset: str, at: datetime) -> None:
    """Keep that a handset wrote to a number."""
    await tx.execute(
        """INSERT INTO simulator_whatsapp_chats (phone_number_id, handset, heard_at) VALUES ($1, $2, $3)
           ON CONFLICT (phone_number_id, handset) DO UPDATE SET heard_at = excluded.heard_at""",
        phone_number_id,
        handset,
        at,
    )


async def add_message(
    tx: Tx, wamid: str, phone_number_id: str, handset: str, message_id: int, *, is_inbound: bool, opaque: str
) -> None:
    """Keep which of a handset's messages has a name."""
    await tx.execute(
        """INSERT INTO simulator_whatsapp_messages (wamid, phone_number_id, handset, message_id, is_inbound, opaque,
                                                    is_read)
           VALUES ($1, $2, $3, $4, $5, $6, false)""",
        wamid,
        phone_number_id,
        handset,
        message_id,
        is_inbound,
        opaque,
    )


async def message(tx: Tx, wamid: str) -> Row | None:
    """Return what is known of a name."""
    return await tx.fetchrow("SELECT * FROM simulator_whatsapp_messages WHERE wamid = $1", wamid)


async def received(tx: Tx, handset: str, phone_number_id: str, message_id: int | None) -> Row | None:
    """Return a message that a handset received from a number, with its content: the one named, or the last."""
    return await tx.fetchrow(
        """SELECT w.wamid, m.content FROM simulator_whatsapp_messages w
           JOIN simulator_messages m ON m.handset = w.handset AND m.id = w.message_id
           WHERE w.handset = $1 AND w.phone_number_id = $2 AND NOT w.is_inbound AND m.direction = 'received'
             AND ($3::bigint IS NULL OR m.id = $3)
           ORDER BY m.id DESC LIMIT 1""",
        handset,
        phone_number_id,
        message_id,
    )


async def read_all(tx: Tx, handset: str) -> list[Row]:
    """Mark what a handset received as read, and return what was not before."""
    return await tx.fetch(
        """UPDATE simulator_whatsapp_messages w SET is_read = true FROM simulator_messages m
           WHERE w.handset = $1 AND NOT w.is_inbound AND NOT w.is_read
             AND m.handset = w.handset AND m.id = w.message_id AND m.direction = 'received'
           RETURNING w.*""",
        handset,
    )


async def sid_is_known(tx: Tx, sid: str) -> bool:
    """Tell whether a handset has a message of this SID."""
    found: bool = await tx.fetchval("SELECT EXISTS (SELECT FROM simulator_messages WHERE message_sid = $1)", sid)
    return found


async def set_content(tx: Tx, handset: str, message_id: int, content: Any) -> None:
    """Keep what a message shows beside its text."""
    await tx.execute(
        "UPDATE simulator_messages SET content = $3 WHERE handset = $1 AND id = $2", handset, message_id, content
    )


async def add_template(
    tx: Tx, waba_id: str, name: str, language: str, category: str, components: Any, status: str
) -> Row | None:
    """Keep a template; None where the account has its name in this language."""
    return await tx.fetchrow(
        """INSERT INTO simulator_whatsapp_templates (waba_id, name, language, category, components, status)
           VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (waba_id, name, language) DO NOTHING RETURNING *""",
        waba_id,
        name,
        language,
        category,
        components,
        status,
    )


async def templates(tx: Tx, waba_id: str, name: str | None, language: str | None = None) -> list[Row]:
    """Return templates of an account."""
    return await tx.fetch(
        """SELECT * FROM simulator_whatsapp_templates
           WHERE waba_id = $1 AND ($2::text IS NULL OR name = $2) AND ($3::text IS NULL OR language = $3)
           ORDER BY id""",
        waba_id,
        name,
        language,
    )


async def set_template(tx: Tx, template_id: int, status: str) -> None:
    """Say what became of a template."""
    await tx.execute("UPDATE simulator_whatsapp_templates SET status = $2 WHERE id = $1", template_id, status)


async def add_file(tx: Tx, content_type: str, data: bytes) -> str:
    """Keep a file and return its id."""
    found = await tx.fetchval(
        "INSERT INTO simulator_whatsapp_files (content_type, data) VALUES ($1, $2) RETURNING id", content_type, data
    )
    return str(found)


async def file(tx: Tx, file_id: str) -> Row | None:
    """Return a file."""
    if not (file_id.isascii() and file_id.isdigit() and len(file_id) <= 18):
        return None
    return await tx.fetchrow("SELECT * FROM simulator_whatsapp_files WHERE id = $1", int(file_id))


async def contents(tx: Tx, ids: Sequence[int]) -> dict[int, Any]:
    """Return what messages show, by id."""
    rows = await tx.fetch(
        "SELECT id, content FROM simulator_messages WHERE id = ANY($1::bigint[]) AND content IS NOT NULL", list(ids)
    )
    return {row["id"]: row["content"] for row in rows}
