"""What an account wants looked at before its messages go out: quiet hours of the recipient, numbers out of service.

Theory of operation. Few accounts ask for it, so every process holds the settings of all that do, and for all others a
batch costs one look into a dictionary. A change is in force in its own process with its commit, and in others when they
hear of it. Replies are let through: who writes at night wants to be answered.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from typing import Any, NamedTuple

import msgspec

from onterms.core import e164
from onterms.core.calendar import day_of
from onterms.core.db import Database, Tx
from onterms.core.errors import Refusal
from onterms.core.following import Follower
from onterms.engines import log
from onterms.ports.reassigned_numbers import ReassignedNumbers
from onterms.products.messaging import errors, events
from onterms.products.messaging.model import NewMessage
from onterms.products.messaging.model.compliance import Settings
from onterms.products.messaging.model.zones import waits_until, zone_of_zip, zones_of
from onterms.products.messaging.store import consent as store

REASSIGNED = "REASSIGNED"


class Looked(NamedTuple):
    """What became of messages: why some are refused, and until when some wait, by SID."""

    refused: dict[str, Refusal]
    waiting: dict[str, datetime]


_NOTHING = Looked({}, {})


class Compliance:
    """Looks at messages of the accounts that asked for it."""

    def __init__(self, database: Database, reassigned: ReassignedNumbers) -> None:
        self._database = database
        self._reassigned = reassigned
        self._settings: dict[str, Settings] = {}
        self._follower = Follower(database, store.CHANNEL, self._reload)

    async def start(self) -> None:
        """Read the settings and follow their changes."""
        await self._follower.start()

    async def close(self) -> None:
        """Follow no more."""
        await self._follower.close()

    async def _reload(self) -> None:
        async with self._database.snapshot() as tx:
            found = await store.compliance(tx)
        self._settings = {account_sid: msgspec.convert(kept, Settings) for account_sid, kept in found.items()}

    async def fetch(self, tx: Tx, account_sid: str) -> Settings | None:
        """Return what an account wants looked at, None for nothing."""
        found = await store.compliance_of(tx, account_sid)
        return None if found is None else msgspec.convert(found, Settings)

    async def set(self, tx: Tx, account_sid: str, settings: Settings | None, at: datetime) -> None:
        """Change what an account wants looked at."""
        kept = None if settings is None else msgspec.to_builtins(settings)
        await store.set_compliance(tx, account_sid, kept, at)
        tx.after_commit(lambda: self._keep(account_sid, settings))

    def _keep(self, account_sid: str, settings: Settings | None) -> None:
        if settings is None:
            self._settings.pop(account_sid, None)
        else:
            self._settings[account_sid] = settings

    async def look(self, tx: Tx, messages: Sequence[NewMessage], at: datetime) -> Looked:
        """Look at messages about to be let out."""
        if not self._settings:
            return _NOTHING
        asked = [
            (message, settings)
            for message in messages
            if (settings := self._settings.get(message.account_sid)) is not None
            and message.direction != "outbound-reply"
            and message.messaging_service_sid not in settings.exempt_services
        ]
        if not asked:
            return _NOTHING
        refused = await self._other_hands(tx, asked, at)
        refused |= await self._out_of_service(tx, [each for each in asked if each[0].sid not in refused])
        waiting: dict[str, datetime] = {}
        sleepers = [each for each in asked if each[0].sid not in refused and _has_quiet_hours(*each)]
        zips = await store.zips_of(tx, [(m.account_sid, m.recipient) for m, _ in sleepers]) if sleepers else {}
        for message, settings in sleepers:
            until = _quiet_until(message, settings, zips, at)
            if until is None:
                continue
            if settings.action == "reschedule":
                waiting[message.sid] = until
            else:
                refused[message.sid] = errors.QuietHours(
                    f"It is quiet time at {message.recipient} until {until:%Y-%m-%dT%H:%M:%SZ}"
                )
        return Looked(refused, waiting)

    async def _out_of_service(self, tx: Tx, asked: Sequence[tuple[NewMessage, Settings]]) -> dict[str, Refusal]:
        wanted = [message for message, settings in asked if settings.deactivated_numbers]
        if not wanted:
            return {}
        # Whoever agreed since then has the number now.
        known = await store.consented(tx, [key for message in wanted for key in _senders(message)])
        pairs = {message.sid: (message.recipient, _last_known(message, known) or date.min) for message in wanted}
        gone = await self._reassigned.since(tx, list(pairs.values()))
        return {
            message.sid: errors.OutOfService(f"{message.recipient} was taken out of service by its carrier")
            for message in wanted
            if pairs[message.sid] in gone
        }

    async def _other_hands(
        self, tx: Tx, asked: Sequence[tuple[NewMessage, Settings]], at: datetime
    ) -> dict[str, Refusal]:
        """Refuse who has a number that somebody else agreed with, and keep that as an opt-out."""
        wanted = [message for message, settings in asked if settings.reassigned_numbers]
        if not wanted:
            return {}
        known = await store.consented(tx, [key for message in wanted for key in _senders(message)])
        days = {message.sid: day for message in wanted if (day := _last_known(message, known)) is not None}
        dated = [message for message in wanted if message.sid in days]
        if not dated:
            return {}
        gone = await self._reassigned.since(tx, [(message.recipient, days[message.sid]) for message in dated])
        refused: dict[str, Refusal] = {}
        for message in dated:
            if (message.recipient, days[message.sid]) not in gone:
                continue
            refused[message.sid] = errors.OptedOut(
                f"{message.recipient} has another subscriber than the one who agreed"
            )
            # Twilio docs, Compliance Toolkit events: an opt-out is made of it.
            stopped = [
                store.Consent(sender, message.recipient, True, "reassigned", None, REASSIGNED)
                for _, sender, _ in _senders(message)
            ]
            await store.set_consents(tx, message.account_sid, stopped, at)
            told = {"keyword": REASSIGNED, "last_verified": days[message.sid].isoformat()}
            await log.append(tx, [events.event(events.OPTED_OUT, message.account_sid, message.sid, told)], at)
        return refused


def _senders(message: NewMessage) -> list[tuple[str, str, str]]:
    names = [name for name in (message.sender, message.messaging_service_sid) if name]
    return [(message.account_sid, name, message.recipient) for name in names]


def _last_known(message: NewMessage, known: Mapping[tuple[str, str, str], datetime]) -> date | None:
    moments = [known[key] for key in _senders(message) if key in known]
    return day_of(max(moments)) if moments else None


def _has_quiet_hours(message: NewMessage, settings: Settings) -> bool:
    return settings.quiet_hours and (e164.country_of(message.recipient) or "") in settings.countries


def _quiet_until(
    message: NewMessage, settings: Settings, zips: Mapping[tuple[str, str], Any], at: datetime
) -> datetime | None:
    # Twilio docs, Contact API: the ZIP code where it is known, else the number's area.
    zone = zone_of_zip(zips.get((message.account_sid, message.recipient), ""))
    zones = (zone,) if zone else zones_of(e164.zones_of(message.recipient), settings.default_zone)
    begin, end = time.fromisoformat(settings.quiet_from), time.fromisoformat(settings.quiet_to)
    return waits_until(zones, begin, end, at)
