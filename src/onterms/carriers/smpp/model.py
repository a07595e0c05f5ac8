"""What the carrier decides without asking anybody: addresses, ids, codes, and which route a message takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from onterms.core.e164 import is_short_code
from onterms.protocols.smpp import MessageState, Status
from onterms.protocols.smpp.pdu import Address

Bind = Literal["transceiver", "transmitter", "receiver"]
IdFormat = Literal["exact", "hex-to-decimal", "decimal-to-hex"]
Octet = Annotated[int, Meta(ge=0, le=255)]

NO_ROUTE: Final = 21612
NO_MEDIA: Final = 30011
TIMED_OUT: Final = 30410
UNKNOWN_ERROR: Final = 30008
# Ours: most receipts come within minutes, and funds stay held until the end.
AMBIGUOUS_S: Final = 3600.0


class CarrierSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How one SMSC is spoken to. What a carrier's manual says goes here; the defaults are what most take."""

    host: str
    port: int = 2775
    enabled: bool = True
    tls: bool = False
    # A PEM of the authorities that may vouch for the server; empty is the system's.
    tls_ca: str = ""
    # The name asked for and checked, where it is not the host.
    tls_name: str = ""
    system_id: str = ""
    system_type: str = ""
    binds: tuple[Bind, ...] = ("transceiver",)
    version: Literal["3.3", "3.4", "5.0"] = "3.4"
    window: int = 100
    # Units: segments a second on each link; 0 is without limit.
    rate: float = 0.0
    response_s: float = 60.0
    enquire_s: float = 30.0
    throttle_s: float = 1.0
    alphabet: Literal["gsm", "gsm-packed", "latin-1", "ascii"] = "gsm"
    long: Literal["udh", "udh16", "sar", "payload"] = "udh"
    service_type: str = ""
    registered_delivery: Octet = 1
    # The longest that the SMSC shall try; 0 leaves it to the SMSC.
    validity_s: int = 0
    # Type and plan of numbers by what they are. Source of the defaults: carriers' manuals, as 8x8 and Sinch print them.
    long_ton: Octet = 1
    long_npi: Octet = 1
    short_ton: Octet = 3
    short_npi: Octet = 0
    alpha_ton: Octet = 5
    alpha_npi: Octet = 0
    recipient_ton: Octet = 1
    recipient_npi: Octet = 1
    recipient_plus: bool = False
    # How the ids of receipts are made of those of submit responses.
    id_format: IdFormat = "exact"
    # What the carrier's `err` means to customers, where the defaults are wrong.
    error_codes: dict[str, int] = {}
    # Whether a message may go out again whose first way may have worked.
    allow_duplicates: bool = False
    # How long the fate of a message that was never answered may be unknown, before it counts as failed.
    ambiguous_s: float = AMBIGUOUS_S
    # After which time without a receipt the SMSC is asked; 0 is never.
    query_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CarrierRow:
    """A carrier with its password, in the memory of the worker that binds."""

    sid: str
    name: str
    settings: CarrierSettings
    password: str

    def __repr__(self) -> str:
        return f"CarrierRow({self.sid})"


@dataclass(frozen=True, slots=True)
class Route:
    """One way for the recipients of a prefix."""

    sid: str
    carrier_sid: str
    prefix: str
    mcc: str
    mnc: str
    cost_micros: int
    priority: int
    min_quality: float


@dataclass(frozen=True, slots=True)
class Network:
    """Where a number is at home, as a number lookup says."""

    mcc: str
    mnc: str


@dataclass(slots=True)
class Quality:
    """How a route's messages ended in the window of time that counts."""

    delivered: int = 0
    undelivered: int = 0

    # Below this many ends a ratio says nothing yet. Ours.
    MEASURED: Final = 20

    @property
    def ratio(self) -> float | None:
        """The part delivered; None while too few have ended."""
        ended = self.delivered + self.undelivered
        return self.delivered / ended if ended >= self.MEASURED else None


class Routes:
    """The routes by prefix: which ways a message has, best first."""

    def __init__(self, routes: Sequence[Route] = ()) -> None:
        self._by_prefix: dict[str, list[Route]] = {}
        for route in routes:
            self._by_prefix.setdefault(route.prefix, []).append(route)
        self._longest = max((len(prefix) for prefix in self._by_prefix), default=-1)

        # Whether any names a network, so that numbers have to be looked up.
        self.names_networks = any(route.mcc for route in routes)

    def __bool__(self) -> bool:
        return bool(self._by_prefix)

    def of(self, recipient: str, quality: Mapping[str, Quality], network: Network | None = None) -> list[Route]:
        """Return a recipient's routes, best first.

        The network counts before the prefix and the longer prefix before the shorter; then priority (small first),
        then whether the measured quality is enough, then cost, then the better quality.
        """
        if not recipient.startswith("+"):
            return []
        digits = recipient[1:]
        found: list[tuple[tuple[float, ...], str, Route]] = []
        for length in range(min(self._longest, len(digits)), -1, -1):
            for route in self._by_prefix.get(digits[:length], ()):
                exact = 0
                if route.mcc:
                    if network is None or network.mcc != route.mcc or route.mnc not in ("", network.mnc):
                        continue
                    exact = 2 if route.mnc else 1
                measured = quality.get(route.sid)
                ratio = measured.ratio if measured is not None else None
                demoted = ratio is not None and ratio < route.min_quality
                rank = (-exact, -length, route.priority, demoted, route.cost_micros, -(1.0 if ratio is None else ratio))
                found.append((rank, route.sid, route))
        found.sort(key=lambda each: each[:2])
        return [route for _, _, route in found]


# ---- addresses


def source_of(settings: CarrierSettings, sender: str) -> Address:
    """Return a sender as the carrier wants it."""
    if sender.startswith("+"):
        return Address(settings.long_ton, settings.long_npi, sender[1:])
    if is_short_code(sender):
        return Address(settings.short_ton, settings.short_npi, sender)
    return Address(settings.alpha_ton, settings.alpha_npi, sender)


def destination_of(settings: CarrierSettings, recipient: str) -> Address:
    """Return a recipient as the carrier wants it."""
    digits = recipient.removeprefix("+")
    return Address(settings.recipient_ton, settings.recipient_npi, f"+{digits}" if settings.recipient_plus else digits)


def number_of(address: Address) -> str:
    """Return a number that the carrier brings as we write it: E.164 with its plus, others as they are."""
    number = address.number.strip()
    digits = number.removeprefix("+")
    # SMPP 3.4 5.2.5: 5 is alphanumeric.
    if address.ton == 5 or not digits.isdigit():
        return number
    # 3 is network specific and 6 abbreviated: how carriers mark short codes.
    if address.ton in (3, 6) and is_short_code(number):
        return number
    # E.164 numbers have at least 7 digits with their country code; short codes at most 6 in most countries.
    return f"+{digits}" if address.ton == 1 or len(digits) > 6 or number != digits else digits


def validity_of(settings: CarrierSettings, left_s: float | None) -> str:
    """Return a relative validity_period: the shorter of what the message has left and what the carrier may take."""
    limits = [limit for limit in (left_s, settings.validity_s or None) if limit is not None]
    if not limits:
        return ""
    seconds = max(1, int(min(limits)))
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    # SMPP 3.4 7.1.1.2: YYMMDDhhmmss000R; whole months say nothing exact, so days are the greatest unit used.
    return f"0000{min(days, 30):02d}{hours:02d}{minutes:02d}{seconds:02d}000R"


# ---- ids


def receipt_id(given: str, id_format: IdFormat) -> str:
    """Return the id that the receipts of a submit response's id will carry, in the form that `same_id` makes of it."""
    try:
        if id_format == "hex-to-decimal":
            return str(int(given, 16))
        if id_format == "decimal-to-hex":
            return format(int(given), "x")
    except ValueError:
        # Not such a number; then both sides probably say the same.
        return given
    return given


def same_id(found: str, id_format: IdFormat) -> str:
    """Return a receipt's id without what differs in writing only."""
    if id_format == "exact":
        return found
    stripped = found.lower().lstrip("0")
    return stripped or "0" if found else found


# ---- codes

# What a submit response's status means to the customer. Source of the meanings: SMPP 3.4 5.1.3; of the choice: ours.
_REFUSALS: Final[Mapping[int, int]] = {
    Status.RINVMSGLEN: 30019,
    Status.RINVSRCADR: NO_ROUTE,
    Status.RINVSRCTON: NO_ROUTE,
    Status.RINVSRCNPI: NO_ROUTE,
    Status.RINVDSTADR: 30005,
    Status.RINVDSTTON: 30005,
    Status.RINVDSTNPI: 30005,
    Status.RX_R_APPN: 30007,
    Status.RPROHIBITED: 30004,
}
# The message may go later, and the link is not to be asked at once.
THROTTLING: Final = frozenset({int(Status.RTHROTTLED), int(Status.RMSGQFUL)})
# Nothing is wrong with the message: another link, or a later time, may take it.
TRANSIENT: Final = frozenset({int(Status.RX_T_APPN), int(Status.RINVBNDSTS)})

# Twilio docs, "SMPP error codes": 001 is an absent subscriber, 002 a full memory.
_ERRORS: Final[Mapping[str, int]] = {"1": 30003, "2": 30003}
# Which ends have which code where `err` says nothing more. Ours; no source maps them.
_ENDS: Final[Mapping[int, int]] = {
    MessageState.EXPIRED: 30003,
    MessageState.REJECTED: 30007,
}


def refusal_code(status: int) -> int:
    """Return the code with which a refused message fails."""
    return _REFUSALS.get(status, UNKNOWN_ERROR)


def end_code(settings: CarrierSettings, state: int, error: str) -> int | None:
    """Return the code of a message that ended so; None for one delivered."""
    if state == MessageState.DELIVERED:
        return None
    own = settings.error_codes.get(error)
    if own is not None:
        return own
    return _ERRORS.get(error.lstrip("0")) or _ENDS.get(state, UNKNOWN_ERROR)
