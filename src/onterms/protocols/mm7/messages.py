"""What MM7 says: requests and responses between a value added service (us) and an MMSC.

Source: 3GPP TS 23.140 (V6.16.0) 7.1 and 8.7: names and meanings of the fields.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

RELEASES: Final = "http://www.3gpp.org/ftp/Specs/archive/23_series/23.140/schema/"
# What most MMSCs were built for; mbuni's and Sinch's default.
NAMESPACE: Final = RELEASES + "REL-5-MM7-1-2"
VERSION: Final = "5.3.0"


class MM7Error(ValueError):
    """What came cannot be used; `code` is the status to answer it with."""

    def __init__(self, code: int, reason: str, transaction_id: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.transaction_id = transaction_id


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a peer wants to be written to.

    Shapes: with `sender_is_text` the sender stands in SenderAddress itself, as releases 5-MM7-1-0 and 1-1 have it.
    """

    namespace: str = NAMESPACE
    version: str = VERSION
    is_prefixed: bool = False
    sender_is_text: bool = False


DEFAULT: Final = Dialect()

AddressKind = Literal["Number", "ShortCode", "RFC2822Address"]


@dataclass(frozen=True, slots=True)
class Address:
    """A number, a short code or a mail address, as it is written.

    Shapes: `is_shown_only` marks the others of a group, who are not to be sent to.
    """

    value: str
    kind: AddressKind = "Number"
    is_shown_only: bool = False

    @property
    def number(self) -> str:
        """The digits of it, with the plus where there is one: `+4479/TYPE=PLMN@mmsc.example` is +4479."""
        text = self.value.strip().partition("@")[0].partition("/")[0]
        digits = "".join(each for each in text if each.isascii() and each.isdigit())
        return "+" + digits if text.startswith("+") else digits


@dataclass(frozen=True, slots=True)
class File:
    """A part of an MM.

    Shapes: `content_id` without brackets; `charset` of a text.
    """

    content_type: str
    data: bytes
    content_id: str = ""
    name: str = ""
    charset: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """How a request fared."""

    code: int
    text: str = ""
    details: str = ""

    @property
    def is_success(self) -> bool:
        """Whether the request was taken, in whole or for some recipients."""
        return 1000 <= self.code < 2000


SUCCESS: Final = Status(1000, "Success")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitReq:
    """An MM to send."""

    transaction_id: str
    recipients: tuple[Address, ...]
    files: tuple[File, ...]
    vasp_id: str = ""
    vas_id: str = ""
    sender: Address | None = None
    subject: str = ""
    service_code: str = ""
    linked_id: str = ""
    message_class: str = ""
    priority: str = ""
    expiry: datetime | None = None
    delivery_report: bool = True
    read_reply: bool = False
    charged_party: str = ""
    may_distribute: bool | None = None
    may_adapt: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitRsp:
    """Whether an MM was taken, and how the MMSC calls it from now on."""

    transaction_id: str
    status: Status
    message_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverReq:
    """An MM of a subscriber."""

    transaction_id: str
    sender: Address
    recipients: tuple[Address, ...]
    files: tuple[File, ...]
    linked_id: str = ""
    relay: str = ""
    subject: str = ""
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverRsp:
    """Whether we took it."""

    transaction_id: str
    status: Status = SUCCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReportReq:
    """What became of an MM for one recipient."""

    transaction_id: str
    message_id: str
    recipient: Address
    sender: Address | None
    mm_status: str
    status_text: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReportRsp:
    """Whether we took the report."""

    transaction_id: str
    status: Status = SUCCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadReplyReq:
    """That an MM was read, or deleted unread."""

    transaction_id: str
    message_id: str
    recipient: Address
    sender: Address | None
    mm_status: str
    status_text: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadReplyRsp:
    """Whether we took it."""

    transaction_id: str
    status: Status = SUCCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelReq:
    """A wish that an MM is not delivered any more."""

    transaction_id: str
    message_id: str
    vasp_id: str = ""
    vas_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRsp:
    """Whether it was."""

    transaction_id: str
    status: Status = SUCCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRsp:
    """An error in place of the response: RSErrorRsp of an MMSC, VASPErrorRsp of ours, or a bare fault."""

    transaction_id: str
    status: Status
    is_ours: bool = False


Message = (
    SubmitReq
    | SubmitRsp
    | DeliverReq
    | DeliverRsp
    | DeliveryReportReq
    | DeliveryReportRsp
    | ReadReplyReq
    | ReadReplyRsp
    | CancelReq
    | CancelRsp
    | ErrorRsp
)


@dataclass(frozen=True, slots=True)
class Code:
    """A status code in words, and whether the same request may fare better later."""

    text: str
    is_transient: bool = False


# TS 23.140 8.7.8.3.3, status codes and their texts. That 3000 and 4006 pass is what they say (a failure of the server
# with a valid request; unavailable for now) and what Sinch and Vibes print beside them; 4005 "shall not be resent".
CODES: Final[Mapping[int, Code]] = {
    1000: Code("Success"),
    1100: Code("Partial success"),
    2000: Code("Client error"),
    2001: Code("Operation restricted"),
    2002: Code("Address error"),
    2003: Code("Address not found"),
    2004: Code("Multimedia content refused"),
    2005: Code("Message ID not found"),
    2006: Code("LinkedID not found"),
    2007: Code("Message format corrupt"),
    3000: Code("Server error", is_transient=True),
    3001: Code("Not possible"),
    3002: Code("Message rejected"),
    3003: Code("Multiple addresses not supported"),
    4000: Code("General service error"),
    4001: Code("Improper identification"),
    4002: Code("Unsupported version"),
    4003: Code("Unsupported operation"),
    4004: Code("Validation error"),
    4005: Code("Service error"),
    4006: Code("Service unavailable", is_transient=True),
    4007: Code("Service denied"),
}


@dataclass(frozen=True, slots=True)
class Decoded:
    """A message and the dialect in which it was written, so that the answer can be as well."""

    message: Message
    dialect: Dialect = field(default=DEFAULT)
