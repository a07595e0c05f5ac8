"""Which carrier messages go to."""

from collections.abc import Sequence
from typing import Any

import pytest

from onterms.app.carriers import Exchange
from onterms.ports.message_carrier import OutboundMessage, Refused, SubmitOutcome, Submitted


class Carrier:
    """A carrier that takes everything and says who it is; as the SMPP carrier, it has the routes given."""

    repeats_are_safe = True

    def __init__(self, name: str, routed: Sequence[str] = ()) -> None:
        self.name = name
        self.routed = routed

    async def carried(self, messages: Sequence[OutboundMessage]) -> set[str]:
        return {message.sid for message in messages if message.recipient in self.routed}

    def has_route(self, recipient: str) -> bool:
        return recipient in self.routed

    async def submit(self, messages: Sequence[OutboundMessage]) -> list[SubmitOutcome]:
        return [Submitted(f"{self.name} {message.sid}") for message in messages]


def message(sid: str, recipient: str, *files: str) -> OutboundMessage:
    return OutboundMessage(sid, "AC1", "+14155550123", recipient, "hi", files, 1, "GSM-7")


MESSAGES = [message("SM1", "+1"), message("SM2", "+44"), message("SM3", "+1")]


@pytest.mark.parametrize(
    ("routed", "carriers"),
    [
        ((), ["simulator", "simulator", "simulator"]),
        (("+44",), ["simulator", "smpp", "simulator"]),
        (("+1", "+44"), ["smpp", "smpp", "smpp"]),
    ],
)
async def test_routes_choose_and_the_simulator_has_the_rest(routed: Sequence[str], carriers: list[str]) -> None:
    smpp: Any = Carrier("smpp", routed)
    outcomes = await Exchange(smpp, Carrier("simulator")).submit(MESSAGES)
    assert outcomes == [Submitted(f"{name} {each.sid}") for name, each in zip(carriers, MESSAGES, strict=True)]


async def test_without_a_simulator_what_no_route_carries_is_refused_with_21612() -> None:
    smpp: Any = Carrier("smpp", ["+44"])
    outcomes = await Exchange(smpp, None).submit(MESSAGES)
    assert outcomes[1] == Submitted("smpp SM2")
    assert [getattr(each, "code", None) for each in outcomes if isinstance(each, Refused)] == [21612, 21612]


WITH_FILES = [message("SM1", "+1"), message("MM2", "+44", "a"), message("SM3", "+44"), message("MM4", "+1", "a")]


async def test_files_go_by_mms_where_it_has_a_route_and_never_by_smpp() -> None:
    smpp: Any = Carrier("smpp", ["+1", "+44"])
    exchange = Exchange(smpp, Carrier("simulator"), Carrier("mms", ["+44"]))
    outcomes = await exchange.submit(WITH_FILES)
    assert outcomes == [Submitted(name) for name in ("smpp SM1", "mms MM2", "smpp SM3", "simulator MM4")]
    assert exchange.carries_files("+1") and exchange.carries_files("+44")


async def test_without_a_simulator_files_without_a_route_are_refused_with_30011() -> None:
    smpp: Any = Carrier("smpp", ["+1", "+44"])
    exchange = Exchange(smpp, None, Carrier("mms", ["+44"]))
    outcomes = await exchange.submit(WITH_FILES)
    assert [getattr(each, "code", None) for each in outcomes] == [None, None, None, 30011]
    assert [exchange.carries_files(number) for number in ("+1", "+44")] == [False, True]
