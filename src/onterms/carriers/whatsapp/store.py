"""All SQL of the WhatsApp tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from onterms.core.db import Row, Tx
from onterms.core.vault import Vault


@dataclass(frozen=True, slots=True)
class Account:
    """A WhatsApp Business Account with the credentials of the operator's app; never printed with them."""

    waba_id: str
    name: str
    base_url: str
    token: str
    app_secret: str
    verify_token: str
    account_sid: str | None = None
    uploads: bool = True

    def __repr__(self) -> str:
        return f"Account({self.waba_id!r}, {self.name!r})"


async def save_account(tx: Tx, vault: Vault, account: Account, at: datetime) -> None:
    """Make a business account, or write it anew."""
    sealed = [
        vault.seal(text, f"{account.waba_id}:{name}")
        for name, text in (
            ("token", account.token),
            ("app_secret", account.app_secret),
            ("verify_token", account.verify_token),
        )
    ]
    await tx.execute(
        """INSERT INTO whatsapp_accounts (waba_id, name, base_url, token, app_secret, verify_token, owner_sid,
                                          uploads, created_at, updated_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
           ON CONFLICT (waba_id) DO UPDATE SET name = excluded.name, base_url = excluded.base_url,
               token = excluded.token, app_secret = excluded.app_secret, verify_token = excluded.verify_token,
               owner_sid = excluded.owner_sid, uploads = excluded.uploads, updated_at = excluded.updated_at""",
        account.waba_id,
        account.name,
        account.base_url,
        *sealed,
        account.account_sid,
        account.uploads,
        at,
    )


def account_of(vault: Vault, row: Row) -> Account:
    """Open a business account's row. Raises: ConfigError where it was sealed with another key."""
    token, app_secret, verify_token = (
        vault.unseal(row[name], f"{row['waba_id']}:{name}") for name in ("token", "app_secret", "verify_token")
    )
    return Account(
        row["waba_id"],
        row["name"],
        row["base_url"],
        token,
        app_secret,
        verify_token,
        row["owner_sid"],
        row["uploads"],
    )


# tenant: the operator's own accounts, which customers' numbers stand in.
async def accounts(tx: Tx, waba_ids: Sequence[str] | None = None) -> list[Row]:
    """Return business accounts: those named, or all."""
    if waba_ids is None:
        return await tx.fetch("SELECT * FROM whatsapp_accounts ORDER BY waba_id")
    return await tx.fetch("SELECT * FROM whatsapp_accounts WHERE waba_id = ANY($1::text[])", list(waba_ids))


async def account_for(tx: Tx, account_sid: str, waba_id: str | None) -> Row | None:
    """Return the business account that an account's numbers go into: the one it names, its own, or a common one."""
    return await tx.fetchrow(
        """SELECT * FROM whatsapp_accounts
           WHERE (owner_sid = $1 OR owner_sid IS NULL) AND ($2::text IS NULL OR waba_id = $2)
           ORDER BY owner_sid NULLS LAST, waba_id LIMIT 1""",
        account_sid,
        waba_id or None,
    )


# tenant: the operator removes an account of his own, with what stands in it.
async def delete_account(tx: Tx, waba_id: str) -> bool:
    """Remove a business account; tell whether it was there."""
    return await tx.execute("DELETE FROM whatsapp_accounts WHERE waba_id = $1", waba_id) > 0


async def save_number(
    tx: Tx, account_sid: str, sender_sid: str, address: str, waba_id: str, phone_number_id: str, at: datetime
) -> None:
    """Keep where a sender stands upstream."""
    await tx.execute(
        """INSERT INTO whatsapp_numbers (account_sid, sender_sid, address, waba_id, phone_number_id, is_verified,
                                         enrolled_at)
           VALUES ($1, $2, $3, $4, $5, false, $6)
           ON CONFLICT (account_sid, sender_sid)
           DO UPDATE SET waba_id = excluded.waba_id, phone_number_id = excluded.phone_number_id""",
        account_sid,
        sender_sid,
        address,
        waba_id,
        phone_number_id,
        at,
    )


async def set_verified(tx: Tx, account_sid: str, sender_sid: str) -> None:
    """Keep that a number is its account's."""
    await tx.execute(
        "UPDATE whatsapp_numbers SET is_verified = true WHERE account_sid = $1 AND sender_sid = $2",
        account_sid,
        sender_sid,
    )


async def set_token(tx: Tx, account_sid: str, sender_sid: str, token: bytes | None) -> bool:
    """Give a sender a token of its own, or take it away; tell whether the sender is there."""
    return (
        await tx.execute(
            "UPDATE whatsapp_numbers SET token = $3 WHERE account_sid = $1 AND sender_sid = $2",
            account_sid,
            sender_sid,
            token,
        )
        > 0
    )


async def number_of(tx: Tx, account_sid: str, sender_sid: str) -> Row | None:
    """Return where a sender stands upstream, with its business account."""
    return await tx.fetchrow(
        """SELECT a.*, n.account_sid AS tenant_sid, n.sender_sid, n.address, n.phone_number_id, n.is_verified,
                  n.token AS own_token
           FROM whatsapp_numbers n JOIN whatsapp_accounts a USING (waba_id)
           WHERE n.account_sid = $1 AND n.sender_sid = $2""",
        account_sid,
        sender_sid,
    )


async def delete_number(tx: Tx, account_sid: str, sender_sid: str) -> None:
    """Forget where a sender stood."""
    await tx.execute("DELETE FROM whatsapp_numbers WHERE account_sid = $1 AND sender_sid = $2", account_sid, sender_sid)


# tenant: whether another customer has proved that a number is his.
async def holder_of(tx: Tx, phone_number_id: str) -> Row | None:
    """Return who has a number for good."""
    return await tx.fetchrow(
        "SELECT account_sid, sender_sid FROM whatsapp_numbers WHERE phone_number_id = $1 AND is_verified",
        phone_number_id,
    )


async def numbers_of(tx: Tx, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Row]:
    """Return verified numbers with their business accounts, by (account_sid, address)."""
    rows = await tx.fetch(
        """SELECT a.*, n.account_sid AS tenant_sid, n.sender_sid, n.address, n.phone_number_id, n.enrolled_at,
                  n.token AS own_token
           FROM whatsapp_numbers n JOIN whatsapp_accounts a USING (waba_id)
           WHERE n.account_sid = ANY($1::text[]) AND n.address = ANY($2::text[]) AND n.is_verified""",
        list({pair[0] for pair in pairs}),
        list({pair[1] for pair in pairs}),
    )
    wanted = set(pairs)
    return {key: row for row in rows if (key := (row["tenant_sid"], row["address"])) in wanted}


# tenant: Meta names a number by its own id; the row says whose it is.
async def number_upstream(tx: Tx, waba_id: str, phone_number_id: str) -> Row | None:
    """Return whose a number of a business account is."""
    return await tx.fetchrow(
        """SELECT account_sid, sender_sid, address FROM whatsapp_numbers
           WHERE waba_id = $1 AND phone_number_id = $2 AND is_verified""",
        waba_id,
        phone_number_id,
    )


# tenant: as above, by the number as people write it.
async def number_by_digits(tx: Tx, waba_id: str, digits: str) -> Row | None:
    """Return whose a number of a business account is."""
    return await tx.fetchrow(
        """SELECT account_sid, sender_sid, address FROM whatsapp_numbers
           WHERE waba_id = $1 AND address = 'whatsapp:+' || $2::text AND is_verified""",
        waba_id,
        digits,
    )


async def hand_over(tx: Tx, rows: Sequence[tuple[str, str, str]], at: datetime) -> set[str]:
    """Write messages down, (account_sid, message_sid, phone_number_id), and return those that are new."""
    new = await tx.fetch(
        """INSERT INTO whatsapp_messages (account_sid, message_sid, phone_number_id, created_at)
           SELECT account_sid, message_sid, phone_number_id, $4
           FROM unnest($1::text[], $2::text[], $3::text[]) AS new (account_sid, message_sid, phone_number_id)
           ON CONFLICT (message_sid) DO NOTHING RETURNING message_sid""",
        [row[0] for row in rows],
        [row[1] for row in rows],
        [row[2] for row in rows],
        at,
    )
    return {row["message_sid"] for row in new}


# tenant: a message's SID is one account's only; whose, the caller knows.
async def known(tx: Tx, sids: Sequence[str]) -> dict[str, Row]:
    """Return what was handed over before, by message SID."""
    rows = await tx.fetch("SELECT * FROM whatsapp_messages WHERE message_sid = ANY($1::text[])", list(sids))
    return {row["message_sid"]: row for row in rows}


# tenant: as above.
async def name(tx: Tx, names: Mapping[str, str]) -> None:
    """Keep Meta's names of messages."""
    await tx.execute(
        """UPDATE whatsapp_messages m SET wamid = k.wamid
           FROM unnest($1::text[], $2::text[]) AS k (sid, wamid) WHERE m.message_sid = k.sid""",
        list(names),
        list(names.values()),
    )


# tenant: as above.
async def refuse(tx: Tx, refused: Mapping[str, tuple[int, str]]) -> None:
    """Keep what was refused, for a repeat."""
    await tx.execute(
        """UPDATE whatsapp_messages m SET refused_code = k.code, refused_reason = k.reason
           FROM unnest($1::text[], $2::int[], $3::text[]) AS k (sid, code, reason) WHERE m.message_sid = k.sid""",
        list(refused),
        [code for code, _ in refused.values()],
        [reason for _, reason in refused.values()],
    )


# tenant: as above.
async def take_back(tx: Tx, sids: Sequence[str]) -> None:
    """Forget messages that were not taken."""
    await tx.execute("DELETE FROM whatsapp_messages WHERE message_sid = ANY($1::text[])", list(sids))


# tenant: Meta names a message by its own name or by the one that we gave it, and the number it went from.
async def find(tx: Tx, wamids: Sequence[str], sids: Sequence[str]) -> list[Row]:
    """Return messages by Meta's names or by ours."""
    return await tx.fetch(
        "SELECT * FROM whatsapp_messages WHERE wamid = ANY($1::text[]) OR message_sid = ANY($2::text[])",
        list(wamids),
        list(sids),
    )


# tenant: what is too old to be heard of again.
async def sweep(tx: Tx, before: datetime) -> int:
    """Forget messages and windows from before a moment."""
    await tx.execute("DELETE FROM whatsapp_windows WHERE heard_at < $1", before)
    return await tx.execute("DELETE FROM whatsapp_messages WHERE created_at < $1", before)


async def windows(tx: Tx, keys: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str, str], datetime]:
    """Return when people last wrote, by (account_sid, sender, peer)."""
    rows = await tx.fetch(
        """SELECT w.* FROM whatsapp_windows w
           JOIN unnest($1::text[], $2::text[], $3::text[]) AS k (account_sid, sender, peer)
             ON w.account_sid = k.account_sid AND w.sender = k.sender AND w.peer = k.peer""",
        [key[0] for key in keys],
        [key[1] for key in keys],
        [key[2] for key in keys],
    )
    return {(row["account_sid"], row["sender"], row["peer"]): row["heard_at"] for row in rows}


async def open_window(tx: Tx, account_sid: str, sender: str, peer: str, at: datetime) -> None:
    """Keep that a person wrote to a number."""
    await tx.execute(
        """INSERT INTO whatsapp_windows (account_sid, sender, peer, heard_at) VALUES ($1, $2, $3, $4)
           ON CONFLICT (account_sid, sender, peer)
           DO UPDATE SET heard_at = greatest(whatsapp_windows.heard_at, excluded.heard_at)""",
        account_sid,
        sender,
        peer,
        at,
    )


async def save_template(
    tx: Tx, account_sid: str, content_sid: str, waba_id: str, template_id: str, at: datetime
) -> None:
    """Keep under which id a template is upstream."""
    await tx.execute(
        """INSERT INTO whatsapp_templates (account_sid, content_sid, waba_id, template_id, created_at)
           VALUES ($1, $2, $3, $4, $5)
           ON CONFLICT (account_sid, content_sid)
           DO UPDATE SET waba_id = excluded.waba_id, template_id = excluded.template_id""",
        account_sid,
        content_sid,
        waba_id,
        template_id,
        at,
    )


# tenant: Meta names a template by its own id and by the name that it got; the row says whose it is.
async def template_upstream(tx: Tx, waba_id: str, template_id: str, content_sid: str) -> Row | None:
    """Return whose a template of a business account is; its id may not be known yet."""
    return await tx.fetchrow(
        """SELECT account_sid, content_sid FROM whatsapp_templates
           WHERE waba_id = $1 AND (template_id = $2 OR (template_id = '' AND content_sid = $3))""",
        waba_id,
        template_id,
        content_sid,
    )
