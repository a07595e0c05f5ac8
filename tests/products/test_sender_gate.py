"""Whether senders may send, and how fast, from memory that each change clears."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from onterms.carriers.registrar import Desk, SimulatedNetworks
from onterms.core.clock import VirtualClock
from onterms.core.db import Database
from onterms.core.ids import new_sid
from onterms.ports.registrar import BundleSubmission, Granted, NumberSubmission, Waiting
from onterms.products.messaging.service.registration import Registrations

ACCOUNT = "AC" + "a" * 32
LONG_CODE, TOLLFREE, HANDSET = "+12025550100", "+18885550100", "+19075550140"


class Counting:
    """A transaction that counts its questions."""

    def __init__(self, tx: Any) -> None:
        self._tx = tx
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        def counted(*args: Any) -> Any:
            self.asked += 1
            return getattr(self._tx, name)(*args)

        return counted


@pytest.fixture
async def gate(database: Database, clock: VirtualClock) -> AsyncIterator[Registrations]:
    made = Registrations(clock, SimulatedNetworks(), is_enforced=True)
    follower = made.follower(database)
    await follower.start()
    yield made
    await follower.close()


def message(sender: str = LONG_CODE, recipient: str = HANDSET, segments: int = 1, account: str = ACCOUNT) -> Any:
    return {
        "account_sid": account,
        "sid": f"SM{sender}{recipient}{account}{segments}",
        "sender": sender,
        "recipient": recipient,
        "num_segments": segments,
        "num_media": 0,
    }


async def register(
    database: Database, clock: VirtualClock, *, campaign: str = "VERIFIED", number: str = "REGISTERED", score: int = 80
) -> None:
    at = clock.now()
    async with database.transaction() as tx:
        await tx.execute(
            """INSERT INTO registration_brands (account_sid, sid, customer_profile_sid, a2p_profile_sid, brand_type,
                   status, skips_vetting, mock, brand_score, submitted_at, date_created, date_updated)
               VALUES ($1, 'BN1', 'BU1', 'BU2', 'STANDARD', 'APPROVED', false, false, $3, $2, $2, $2)""",
            ACCOUNT,
            at,
            score,
        )
        await tx.execute(
            """INSERT INTO registration_campaigns (account_sid, sid, service_sid, brand_sid, usecase, details, status,
                   is_external, mock, submitted_at, date_created, date_updated)
               VALUES ($1, 'QE1', 'MG1', 'BN1', 'MIXED', '{}', $3, false, false, $2, $2, $2)""",
            ACCOUNT,
            at,
            campaign,
        )
        await tx.execute(
            """INSERT INTO registration_numbers (account_sid, campaign_sid, number, status, submitted_at)
               VALUES ($1, 'QE1', $3, $4, $2)""",
            ACCOUNT,
            at,
            LONG_CODE,
            number,
        )


async def codes(database: Database, clock: VirtualClock, gate: Registrations, *messages: Any) -> list[int]:
    async with database.transaction() as tx:
        found = await gate.barred(tx, messages, clock.now())
    return [found.get((each["account_sid"], each["sid"]), 0) for each in messages]


@pytest.mark.parametrize(
    ("campaign", "number", "code"),
    [
        ("VERIFIED", "REGISTERED", 0),
        ("VERIFIED", "PENDING", 30035),
        ("VERIFIED", "FAILED", 30034),
        ("SUSPENDED", "REGISTERED", 30033),
        ("PENDING", "REGISTERED", 30034),
        ("IN_PROGRESS", "PENDING", 30034),
        ("FAILED", "PENDING", 30034),
    ],
)
async def test_standing_of_campaign_and_number_decides(
    database: Database, clock: VirtualClock, gate: Registrations, campaign: str, number: str, code: int
) -> None:
    await register(database, clock, campaign=campaign, number=number)
    assert await codes(database, clock, gate, message()) == [code]


async def test_only_us_numbers_to_the_us_and_toll_free_ones_to_canada_too_are_asked(
    database: Database, clock: VirtualClock, gate: Registrations
) -> None:
    toronto, berlin, short = "+14165550123", "+4915112345678", "12345"
    asked = [
        (LONG_CODE, HANDSET, 30034),
        (LONG_CODE, toronto, 0),
        (LONG_CODE, berlin, 0),
        (TOLLFREE, HANDSET, 30032),
        (TOLLFREE, toronto, 30032),
        (TOLLFREE, berlin, 0),
        (toronto, HANDSET, 0),
        (short, HANDSET, 0),
        ("Acme", HANDSET, 0),
        (berlin, HANDSET, 0),
    ]
    messages = [message(sender, recipient) for sender, recipient, _ in asked]
    assert await codes(database, clock, gate, *messages) == [code for _, _, code in asked]


async def test_registration_of_one_account_is_nobody_elses(
    database: Database, clock: VirtualClock, gate: Registrations
) -> None:
    await register(database, clock)
    other = message(account="AC" + "b" * 32)
    assert await codes(database, clock, gate, message(), other) == [0, 30034]


async def test_nothing_is_asked_where_registration_is_not_enforced(database: Database, clock: VirtualClock) -> None:
    gate = Registrations(clock)
    async with database.transaction() as tx:
        counting = Counting(tx)
        assert await gate.barred(counting, [message()], clock.now()) == {}  # type: ignore[arg-type]
    assert counting.asked == 0


async def test_batch_costs_one_question_and_the_next_batch_none(
    database: Database, clock: VirtualClock, gate: Registrations
) -> None:
    batch = [message(recipient=f"+190755501{place:02d}") for place in range(60)]
    async with database.transaction() as tx:
        counting = Counting(tx)
        assert len(await gate.barred(counting, batch, clock.now())) == 60  # type: ignore[arg-type]
        assert counting.asked == 1
        assert len(await gate.barred(counting, batch, clock.now())) == 60  # type: ignore[arg-type]
        assert counting.asked == 1


async def test_change_is_heard_of(database: Database, clock: VirtualClock, gate: Registrations) -> None:
    assert await codes(database, clock, gate, message()) == [30034]
    await register(database, clock)
    # The word comes by another connection; without it memory forgets by itself.
    clock.hold(clock.now() + timedelta(seconds=31))
    assert await codes(database, clock, gate, message()) == [0]


async def test_brands_day_ends_at_its_cap_and_the_messages_that_fit_go(
    database: Database, clock: VirtualClock, gate: Registrations
) -> None:
    await register(database, clock, score=10)
    batch = [message(segments=1500), message(segments=600), message(segments=500), message(segments=1)]
    assert await codes(database, clock, gate, *batch) == [0, 30023, 0, 30023]
    elsewhere = message(recipient="+19075550100", segments=100)
    assert await codes(database, clock, gate, elsewhere) == [0]
    clock.hold(clock.now() + timedelta(days=1))
    assert await codes(database, clock, gate, message(segments=2000)) == [0]


async def test_rates_are_those_of_what_senders_are(
    database: Database, clock: VirtualClock, gate: Registrations
) -> None:
    await register(database, clock)
    other = "+12025550101"
    wanted = [(ACCOUNT, sender) for sender in (LONG_CODE, other, TOLLFREE, "12345", "Acme", "+4915112345678")]
    async with database.transaction() as tx:
        found = await gate.sender_rates(tx, wanted)
    assert [found[pair].segments_per_s for pair in wanted] == [225.0, 1.0, 3.0, 100.0, 10.0, 10.0]
    registered = found[ACCOUNT, LONG_CODE]
    assert (registered.group, registered.daily_cap, registered.cap_group) == ("QE1", 200_000, "BN1")
    assert found[ACCOUNT, other].group == other


def test_last_digits_tell_the_network_in_a_sandbox() -> None:
    numbers = ["+19075550100", "+19075550140", "+19075550170", "+19075550199", "Acme"]
    assert SimulatedNetworks().networks_of(numbers) == {
        numbers[0]: "att",
        numbers[1]: "tmobile",
        numbers[2]: "verizon",
        numbers[3]: "other",
    }


async def test_desk_waits_for_its_operator_and_takes_numbers_in(clock: VirtualClock) -> None:
    bundle = BundleSubmission(ACCOUNT, new_sid("BU", clock.now()), "primary", "Acme", "a@b.example", {}, clock.now())
    assert await Desk().review_bundle(bundle) == Waiting(None)
    assert await Desk().assign_number(NumberSubmission(ACCOUNT, LONG_CODE, "C1", clock.now())) == Granted()
