"""What the MMS carriers decide without asking anybody: settings, addresses, codes, and which way a message goes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from onterms.core import e164
from onterms.protocols import mm7

NAME: Final = "mms"
# Twilio's codes for what a message ends with.
NO_ROUTE: Final = 30011
TIMED_OUT: Final = 30410
UNKNOWN_ERROR: Final = 30008
TOO_LARGE: Final = 11751
NO_FILES: Final = 63019
# Ours, as for SMPP: most reports come within minutes, and funds stay held until the end.
AMBIGUOUS_S: Final = 3600.0

Release = Annotated[str, Meta(pattern=r"^REL-[0-9]{1,2}-MM7-[0-9]{1,2}-[0-9]{1,2}$")]
StatusCode = Annotated[int, Meta(ge=1000, le=999_999)]


class CarrierSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How one MMSC is spoken to. What its manual says goes here; the defaults are what most take."""

    url: str
    enabled: bool = True
    # By MM7 over HTTP, or by MM4 over mail: then `url` is smtp://HOST:PORT or smtps://HOST:PORT.
    protocol: Literal["mm7", "mm4"] = "mm7"
    # MM4: our own address there, to which answers come, and the domain that numbers get.
    mail_from: str = ""
    mail_domain: str = ""
    auth: Literal["none", "basic", "digest"] = "basic"
    username: str = ""
    # PEMs: the authorities that may vouch for the MMSC (empty is the system's), and our own certificate.
    tls_ca: str = ""
    tls_certificate: str = ""
    # Who we are to the MMSC.
    vasp_id: str = ""
    vas_id: str = ""
    service_code: str = ""
    # In which words: the schema's release, its version, and where names have prefixes.
    release: Release = "REL-5-MM7-1-2"
    version: str = "5.3.0"
    prefixed: bool = False
    # How our numbers are written: as Number or ShortCode by what they are, as text (release 5-MM7-1-0), or not at all.
    sender: Literal["address", "text", "none"] = "address"
    plus: bool = True
    smil: bool = True
    binary: bool = False
    message_class: str = ""
    charged_party: Literal["", "Sender", "Recipient", "Both", "Neither", "ThirdParty"] = ""
    delivery_report: bool = True
    adapt: bool = True
    # Requests at once, and how many a second; 0 is without limit.
    connections: int = 8
    rate: float = 0.0
    response_s: float = 30.0
    # How long nothing is sent after the MMSC said that it is busy.
    throttle_s: float = 10.0
    # What one message may hold. Carriers' manuals, as AWS and Twilio print them: 600 kB passes nearly everywhere.
    bytes_max: int = 600_000
    # The longer side of a picture that has to be made smaller.
    side_max: int = 1600
    # Into what other pictures are turned; a carrier that takes others lists them.
    image_types: tuple[str, ...] = ("image/jpeg", "image/png", "image/gif")
    # What the MMSC's status codes mean to customers, where the defaults are wrong, and which pass.
    error_codes: dict[str, int] = {}
    retry_codes: tuple[StatusCode, ...] = tuple(code for code, each in mm7.CODES.items() if each.is_transient)
    # Whether a message may go out again whose first way may have worked.
    allow_duplicates: bool = False
    # How long the fate of a message that was never answered may be unknown, before it counts as failed.
    ambiguous_s: float = AMBIGUOUS_S
    # Who may bring reports and messages: by password (with the sealed one) or from these addresses.
    inbound_username: str = ""
    inbound_addresses: tuple[str, ...] = ()
    # Where numbers that the MMSC writes without their country belong, as DE; empty where it writes them whole.
    country: str = ""


@dataclass(frozen=True, slots=True)
class CarrierRow:
    """A carrier with its secrets, in memory."""

    sid: str
    name: str
    settings: CarrierSettings
    password: str = field(default="", repr=False)
    inbound_password: str = field(default="", repr=False)
    tls_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Route:
    """One way for the recipients of a prefix."""

    sid: str
    carrier_sid: str
    prefix: str
    priority: int


class Routes:
    """The routes by prefix."""

    def __init__(self, routes: Sequence[Route] = ()) -> None:
        self._by_prefix: dict[str, list[Route]] = {}
        for route in sorted(routes, key=lambda each: (each.priority, each.sid)):
            self._by_prefix.setdefault(route.prefix, []).append(route)
        self._longest = max((len(prefix) for prefix in self._by_prefix), default=-1)

    def __bool__(self) -> bool:
        return bool(self._by_prefix)

    def of(self, recipient: str) -> list[Route]:
        """Return a recipient's routes, best first: the longer prefix, then the smaller priority."""
        if not recipient.startswith("+"):
            return []
        number = recipient[1:]
        lengths = range(min(self._longest, len(number)), -1, -1)
        return [route for length in lengths for route in self._by_prefix.get(number[:length], ())]


# ---- addresses


def digits(number: str) -> str:
    """Return a number's digits, by which both sides' ways of writing it are one."""
    return "".join(each for each in number if each.isascii() and each.isdigit())


def address_of(settings: CarrierSettings, number: str) -> mm7.Address:
    """Return a number as the MMSC wants it."""
    if e164.is_short_code(number):
        return mm7.Address(number, "ShortCode")
    return mm7.Address(number if settings.plus else number.removeprefix("+"))


def number_of(settings: CarrierSettings, address: mm7.Address) -> str:
    """Return a number that the MMSC brings as we write it: E.164 with its plus, short codes as they are."""
    number = address.number
    if not number:
        return address.value[:64]
    if number.startswith("+") or address.kind == "ShortCode":
        return number
    if settings.country and not e164.is_short_code(number):
        found = e164.normalise("+" + number) if not number.startswith("0") else None
        return found or e164.normalise(number, settings.country) or number
    # E.164 numbers have at least 7 digits with their country code.
    return number if e164.is_short_code(number) and len(number) <= 6 else "+" + number


# ---- codes

# What a status means to the customer. Source of the statuses: TS 23.140 8.7.8.3.3; of the choice: ours.
_REFUSALS: Final[Mapping[int, int]] = {
    2001: 30004,
    2002: 30005,
    2003: 30005,
    2004: 30019,
    3002: 30007,
    4007: 30004,
}
# The last word of an MMStatus, and what it means: TS 23.140 8.7.8, 7.1.8; Sinch and Skycore print Unreachable and
# NotSupported too. What is on its way, or nobody knows more of, leaves the message sent.
_ENDS: Final[Mapping[str, int | None]] = {
    "retrieved": None,
    "delivered": None,
    "read": None,
    "expired": 30003,
    "rejected": 30004,
    "unreachable": 30003,
    "unrecognised": 30011,
    "unrecognized": 30011,
    "notsupported": 30011,
    "systemerror": 30008,
}
# What MM4_forward.RES says of a message that its peer does not take: TS 23.140 8.4.4.9; the choice is ours.
_FORWARD_REFUSALS: Final[Mapping[str, int]] = {
    "Error-service-denied": 30004,
    "Error-sending-address-unresolved": 30005,
    "Error-content-not-accepted": 30019,
}
_INTERIM: Final = frozenset({"forwarded", "deferred", "indeterminate", "deleted", "acceptance", "accepted"})


def refusal_code(settings: CarrierSettings, status: int) -> int:
    """Return the code with which a refused message fails."""
    return settings.error_codes.get(str(status)) or _REFUSALS.get(status, UNKNOWN_ERROR)


def forward_code(settings: CarrierSettings, status: str) -> int:
    """Return the code with which a message fails that was forwarded and not taken."""
    return settings.error_codes.get(status) or _FORWARD_REFUSALS.get(status, UNKNOWN_ERROR)


def end_of(settings: CarrierSettings, mm_status: str) -> tuple[Literal["delivered", "undelivered"], int | None] | None:
    """Return how a message ended and its code; None while it has not."""
    # `Third:User Retrieved` and `Message retrieved` are written too.
    word = mm_status.strip().lower().rpartition(" ")[2].rpartition(":")[2]
    if word in _INTERIM or not word:
        return None
    if word in _ENDS and _ENDS[word] is None:
        return "delivered", None
    code = settings.error_codes.get(mm_status.strip()) or _ENDS.get(word)
    return None if code is None else ("undelivered", code)
