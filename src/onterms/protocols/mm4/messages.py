"""What MM4 says: multimedia messages between two MMSCs.

Source: 3GPP TS 23.140 (V6.16.0) 7.2 and 8.4: names and meanings of the fields.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from onterms.protocols.mm7 import Address, File

VERSION: Final = "6.10.0"
OK: Final = "Ok"

# TS 23.140 8.4.4.9, X-Mms-Request-Status-Code: what a response says, and whether the same may fare better later.
STATUSES: Final[Mapping[str, bool]] = {
    OK: False,
    "Error-unspecified": False,
    "Error-service-denied": False,
    "Error-message-format-corrupt": False,
    "Error-sending-address-unresolved": False,
    "Error-message-not-found": False,
    "Error-network-problem": True,
    "Error-content-not-accepted": False,
    "Error-unsupported-message": False,
}


class MM4Error(ValueError):
    """What came cannot be used; `status` is the code to answer it with."""

    def __init__(self, reason: str, status: str = "Error-message-format-corrupt") -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardReq:
    """An MM for subscribers of the other side.

    Shapes: `message_id` without brackets. `originator_system` is the mail address that responses and reports go to.
    """

    transaction_id: str
    message_id: str
    sender: Address
    recipients: tuple[Address, ...]
    files: tuple[File, ...]
    subject: str = ""
    sent_at: datetime | None = None
    expiry: datetime | None = None
    wants_response: bool = True
    delivery_report: bool = True
    read_reply: bool = False
    originator_system: str = ""
    version: str = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardRes:
    """Whether the other side took it."""

    transaction_id: str
    message_id: str
    status: str = OK
    status_text: str = ""
    version: str = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReportReq:
    """What became of an MM for one recipient."""

    transaction_id: str
    message_id: str
    sender: Address
    recipient: Address
    mm_status: str
    status_text: str = ""
    at: datetime | None = None
    wants_response: bool = True
    originator_system: str = ""
    version: str = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReportRes:
    """Whether the report was taken."""

    transaction_id: str
    message_id: str
    status: str = OK
    status_text: str = ""
    version: str = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadReplyReportReq:
    """That an MM was read, or deleted unread."""

    transaction_id: str
    message_id: str
    sender: Address
    recipient: Address
    read_status: str = "Read"
    at: datetime | None = None
    wants_response: bool = True
    originator_system: str = ""
    version: str = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadReplyReportRes:
    """Whether that was taken."""

    transaction_id: str
    message_id: str
    status: str = OK
    status_text: str = ""
    version: str = VERSION


Request = ForwardReq | DeliveryReportReq | ReadReplyReportReq
Response = ForwardRes | DeliveryReportRes | ReadReplyReportRes
Message = Request | Response
