"""Whether a sender is registered for where it sends to, and how fast and how much it may send by that.

Theory of operation. Messages from US numbers to the US (from toll-free numbers also to Canada) go out only from
registered senders where the operator asks for that. `barred` is asked once for a batch that is about to go to the
carrier: it answers from memory, where a sender's standing stays until the database tells of a change of its account's
registrations, and half a minute at most. Only senders whose brand has a daily cap at the recipient's network cost a
statement, one for each brand of the batch.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from onterms.core import e164
from onterms.core.clock import Clock
from onterms.core.db import Database, Row, Tx
from onterms.core.following import Follower
from onterms.ports.registrar import Networks
from onterms.products import registration
from onterms.products.registration import Rate, SenderStanding

Pair = tuple[str, str]

# The North American plan's codes of toll-free numbers.
_TOLLFREE = re.compile(r"^\+18(?:00|22|33|44|55|66|77|88)")
# Ours: how long memory answers without having heard of a change, should the word of one be lost.
_KEPT_S: Final = 30.0
_ENTRIES_MAX: Final = 200_000


class Registrations:
    """How senders stand, remembered."""

    def __init__(self, clock: Clock, networks: Networks | None = None, *, is_enforced: bool = False) -> None:
        self._clock = clock
        self._networks = networks
        self.is_enforced = is_enforced
        self._known: dict[Pair, tuple[float, SenderStanding]] = {}
        # Grows with each change heard of; what was read before a change is not kept after it.
        self._version = 0

    def follower(self, database: Database) -> Follower:
        """Make what drops memory on each change."""
        return Follower(database, registration.CHANNEL, self._forget)

    async def _forget(self) -> None:
        self._version += 1
        self._known.clear()

    async def barred(self, tx: Tx, messages: Sequence[Row], at: datetime) -> dict[Pair, int]:
        """Return the codes with which messages about to go out end instead, by (account_sid, sid)."""
        if not self.is_enforced:
            return {}
        asked = [message for message in messages if _is_asked(message["sender"], message["recipient"])]
        if not asked:
            return {}
        standings = await self._standings(tx, [(message["account_sid"], message["sender"]) for message in asked])
        codes: dict[Pair, int] = {}
        capped: list[tuple[Row, Rate]] = []
        for message in asked:
            standing = standings[message["account_sid"], message["sender"]]
            if standing.code:
                codes[message["account_sid"], message["sid"]] = standing.code
            elif standing.rate.daily_cap is not None:
                capped.append((message, standing.rate))
        codes.update(await self._over_cap(tx, capped, at))
        return codes

    async def _over_cap(self, tx: Tx, capped: Sequence[tuple[Row, Rate]], at: datetime) -> dict[Pair, int]:
        if not capped or self._networks is None:
            return {}
        networks = self._networks.networks_of([message["recipient"] for message, _ in capped])
        groups: dict[Pair, list[tuple[Row, Rate]]] = {}
        for message, rate in capped:
            if networks.get(message["recipient"]) == registration.CAPPED_NETWORK:
                groups.setdefault((message["account_sid"], rate.cap_group), []).append((message, rate))
        codes: dict[Pair, int] = {}
        # In one order, or two batches would wait for each other's brands.
        for (account_sid, _), members in sorted(groups.items(), key=lambda item: item[0]):
            segments = [1 if message["num_media"] else message["num_segments"] for message, _ in members]
            fits = await registration.spend(tx, account_sid, members[0][1], segments, at)
            for (message, _), goes in zip(members, fits, strict=True):
                if not goes:
                    codes[account_sid, message["sid"]] = registration.CAP_REACHED
        return codes

    async def sender_rates(self, tx: Tx, senders: Sequence[Pair]) -> dict[Pair, Rate]:
        """Return how fast senders may send, and how much in a day, by (account_sid, sender).

        Units: segments a second; senders of one `group` share them. What is neither a number of the North American plan
        nor a short code has the rate of international senders.
        """
        plan = [pair for pair in senders if pair[1].startswith("+1")]
        known = await self._standings(tx, plan) if plan else {}
        found: dict[Pair, Rate] = {}
        for pair in senders:
            if pair in known:
                found[pair] = known[pair].rate
            elif e164.is_short_code(pair[1]):
                found[pair] = Rate(registration.SHORT_CODE, pair[1])
            else:
                found[pair] = Rate(registration.INTERNATIONAL, pair[1])
        return found

    async def _standings(self, tx: Tx, pairs: Sequence[Pair]) -> dict[Pair, SenderStanding]:
        oldest_s = self._clock.monotonic() - _KEPT_S
        found: dict[Pair, SenderStanding] = {}
        missing: list[Pair] = []
        for pair in dict.fromkeys(pairs):
            known = self._known.get(pair)
            if known is not None and known[0] >= oldest_s:
                found[pair] = known[1]
            else:
                missing.append(pair)
        if missing:
            version = self._version
            tollfree = [pair for pair in missing if _TOLLFREE.match(pair[1])]
            long_codes = [pair for pair in missing if not _TOLLFREE.match(pair[1])]
            read = await registration.standings(tx, long_codes, tollfree)
            found.update(read)
            if version == self._version:
                if len(self._known) + len(read) > _ENTRIES_MAX:
                    self._known.clear()
                now_s = self._clock.monotonic()
                self._known.update({pair: (now_s, standing) for pair, standing in read.items()})
        return found


def _is_asked(sender: str, recipient: str) -> bool:
    """Tell whether carriers of the recipient's country ask for this sender's registration."""
    if not sender.startswith("+1") or not recipient.startswith("+1"):
        return False
    country = e164.country_of(recipient)
    if _TOLLFREE.match(sender):
        return country in ("US", "CA")
    return country == "US" and e164.country_of(sender) == "US"


def is_us_long_code(number: str) -> bool:
    """Tell whether a number is of the kind that is registered with a campaign."""
    return number.startswith("+1") and not _TOLLFREE.match(number) and e164.country_of(number) == "US"


def ended_as(message: Mapping[str, Any]) -> str:
    """Return the status by which a message is charged: what was barred here no carrier took, so it is free."""
    return "failed" if message["error_code"] in _BARRED else str(message["status"])


_BARRED: Final = frozenset({30023, 30032, 30033, 30034, 30035})
