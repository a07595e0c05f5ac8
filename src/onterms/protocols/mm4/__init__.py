"""MM4: multimedia messages between MMSCs, as mail with fields of its own, without sockets.

Source: 3GPP TS 23.140.
"""

from onterms.protocols.mm4.codec import MAIL_BYTES_MAX, decode, encode, response_to
from onterms.protocols.mm4.messages import (
    OK,
    STATUSES,
    VERSION,
    DeliveryReportReq,
    DeliveryReportRes,
    ForwardReq,
    ForwardRes,
    Message,
    MM4Error,
    ReadReplyReportReq,
    ReadReplyReportRes,
    Request,
    Response,
)
from onterms.protocols.mm4.session import Mail, MailSession

__all__ = [
    "MAIL_BYTES_MAX",
    "OK",
    "STATUSES",
    "VERSION",
    "DeliveryReportReq",
    "DeliveryReportRes",
    "ForwardReq",
    "ForwardRes",
    "MM4Error",
    "Mail",
    "MailSession",
    "Message",
    "ReadReplyReportReq",
    "ReadReplyReportRes",
    "Request",
    "Response",
    "decode",
    "encode",
    "response_to",
]
