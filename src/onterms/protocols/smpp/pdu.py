"""SMPP's protocol data units.

Source: SMPP 3.4 issue 1.2, section 4, and SMPP 5.0, section 4, for broadcasts.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from onterms.protocols.smpp.codes import RESPONSE, Command

# Optional parameters as they came: (tag, value), for a tag may come more than once.
Tlvs = tuple[tuple[int, bytes], ...]


class Address(msgspec.Struct, frozen=True):
    """A number or name with its type and plan."""

    ton: int = 0
    npi: int = 0
    number: str = ""


class Unsuccessful(msgspec.Struct, frozen=True):
    """A recipient of submit_multi that was not taken, and why."""

    address: Address
    status: int


class Pdu(msgspec.Struct):
    """What all PDUs have. `status` is 0 in requests."""

    command: ClassVar[Command]
    status: int = 0
    sequence: int = 0

    @property
    def is_response(self) -> bool:
        """Whether it answers a request."""
        return self.command >= RESPONSE


class GenericNack(Pdu):
    """A PDU that could not be understood."""

    command: ClassVar[Command] = Command.GENERIC_NACK


class Bind(Pdu):
    """What the three binds have in common."""

    system_id: str = ""
    password: str = ""
    system_type: str = ""
    interface_version: int = 0x34
    addr_ton: int = 0
    addr_npi: int = 0
    address_range: str = ""
    tlvs: Tlvs = ()


class BindReceiver(Bind):
    """Ask for a session that receives."""

    command: ClassVar[Command] = Command.BIND_RECEIVER


class BindTransmitter(Bind):
    """Ask for a session that sends."""

    command: ClassVar[Command] = Command.BIND_TRANSMITTER


class BindTransceiver(Bind):
    """Ask for a session that does both."""

    command: ClassVar[Command] = Command.BIND_TRANSCEIVER


class BindResp(Pdu):
    """What their answers have in common."""

    system_id: str = ""
    tlvs: Tlvs = ()


class BindReceiverResp(BindResp):
    """Answer bind_receiver."""

    command: ClassVar[Command] = Command.BIND_RECEIVER_RESP


class BindTransmitterResp(BindResp):
    """Answer bind_transmitter."""

    command: ClassVar[Command] = Command.BIND_TRANSMITTER_RESP


class BindTransceiverResp(BindResp):
    """Answer bind_transceiver."""

    command: ClassVar[Command] = Command.BIND_TRANSCEIVER_RESP


class Outbind(Pdu):
    """Ask a client to bind, on a connection that the SMSC made."""

    command: ClassVar[Command] = Command.OUTBIND
    system_id: str = ""
    password: str = ""


class Unbind(Pdu):
    """End the session."""

    command: ClassVar[Command] = Command.UNBIND


class UnbindResp(Pdu):
    """Answer unbind."""

    command: ClassVar[Command] = Command.UNBIND_RESP


class EnquireLink(Pdu):
    """Ask whether the other side is there."""

    command: ClassVar[Command] = Command.ENQUIRE_LINK


class EnquireLinkResp(Pdu):
    """Answer enquire_link."""

    command: ClassVar[Command] = Command.ENQUIRE_LINK_RESP


class Message(Pdu):
    """What submit_sm and deliver_sm have in common."""

    service_type: str = ""
    source: Address = Address()
    destination: Address = Address()
    esm_class: int = 0
    protocol_id: int = 0
    priority_flag: int = 0
    schedule_delivery_time: str = ""
    validity_period: str = ""
    registered_delivery: int = 0
    replace_if_present_flag: int = 0
    data_coding: int = 0
    sm_default_msg_id: int = 0
    short_message: bytes = b""
    tlvs: Tlvs = ()


class SubmitSm(Message):
    """Give the SMSC a message."""

    command: ClassVar[Command] = Command.SUBMIT_SM


class DeliverSm(Message):
    """Bring a client a message or a receipt."""

    command: ClassVar[Command] = Command.DELIVER_SM


class MessageResp(Pdu):
    """What answers with a message's name have in common."""

    message_id: str = ""
    tlvs: Tlvs = ()


class SubmitSmResp(MessageResp):
    """Answer submit_sm with the SMSC's name of the message."""

    command: ClassVar[Command] = Command.SUBMIT_SM_RESP


class DeliverSmResp(MessageResp):
    """Answer deliver_sm; the id has no meaning."""

    command: ClassVar[Command] = Command.DELIVER_SM_RESP


class SubmitMulti(Pdu):
    """Give the SMSC a message for many. A destination that is a text is a distribution list's name."""

    command: ClassVar[Command] = Command.SUBMIT_MULTI
    service_type: str = ""
    source: Address = Address()
    destinations: tuple[Address | str, ...] = ()
    esm_class: int = 0
    protocol_id: int = 0
    priority_flag: int = 0
    schedule_delivery_time: str = ""
    validity_period: str = ""
    registered_delivery: int = 0
    replace_if_present_flag: int = 0
    data_coding: int = 0
    sm_default_msg_id: int = 0
    short_message: bytes = b""
    tlvs: Tlvs = ()


class SubmitMultiResp(Pdu):
    """Answer submit_multi with the recipients that were not taken."""

    command: ClassVar[Command] = Command.SUBMIT_MULTI_RESP
    message_id: str = ""
    unsuccessful: tuple[Unsuccessful, ...] = ()
    tlvs: Tlvs = ()


class DataSm(Pdu):
    """A message without submit_sm's fields; its text is in message_payload."""

    command: ClassVar[Command] = Command.DATA_SM
    service_type: str = ""
    source: Address = Address()
    destination: Address = Address()
    esm_class: int = 0
    registered_delivery: int = 0
    data_coding: int = 0
    tlvs: Tlvs = ()


class DataSmResp(MessageResp):
    """Answer data_sm."""

    command: ClassVar[Command] = Command.DATA_SM_RESP


class QuerySm(Pdu):
    """Ask what became of a message."""

    command: ClassVar[Command] = Command.QUERY_SM
    message_id: str = ""
    source: Address = Address()


class QuerySmResp(Pdu):
    """Answer query_sm."""

    command: ClassVar[Command] = Command.QUERY_SM_RESP
    message_id: str = ""
    final_date: str = ""
    message_state: int = 0
    error_code: int = 0


class CancelSm(Pdu):
    """Take a message back."""

    command: ClassVar[Command] = Command.CANCEL_SM
    service_type: str = ""
    message_id: str = ""
    source: Address = Address()
    destination: Address = Address()


class CancelSmResp(Pdu):
    """Answer cancel_sm."""

    command: ClassVar[Command] = Command.CANCEL_SM_RESP


class ReplaceSm(Pdu):
    """Put another text in a message's place."""

    command: ClassVar[Command] = Command.REPLACE_SM
    message_id: str = ""
    source: Address = Address()
    schedule_delivery_time: str = ""
    validity_period: str = ""
    registered_delivery: int = 0
    sm_default_msg_id: int = 0
    short_message: bytes = b""
    tlvs: Tlvs = ()


class ReplaceSmResp(Pdu):
    """Answer replace_sm."""

    command: ClassVar[Command] = Command.REPLACE_SM_RESP


class AlertNotification(Pdu):
    """Tell that a handset is there again; nobody answers it."""

    command: ClassVar[Command] = Command.ALERT_NOTIFICATION
    source: Address = Address()
    esme: Address = Address()
    tlvs: Tlvs = ()


class BroadcastSm(Pdu):
    """Give the SMSC a message for an area (SMPP 5.0); the text is in message_payload."""

    command: ClassVar[Command] = Command.BROADCAST_SM
    service_type: str = ""
    source: Address = Address()
    message_id: str = ""
    priority_flag: int = 0
    schedule_delivery_time: str = ""
    validity_period: str = ""
    replace_if_present_flag: int = 0
    data_coding: int = 0
    sm_default_msg_id: int = 0
    tlvs: Tlvs = ()


class BroadcastSmResp(MessageResp):
    """Answer broadcast_sm."""

    command: ClassVar[Command] = Command.BROADCAST_SM_RESP


class QueryBroadcastSm(Pdu):
    """Ask what became of a broadcast."""

    command: ClassVar[Command] = Command.QUERY_BROADCAST_SM
    message_id: str = ""
    source: Address = Address()
    tlvs: Tlvs = ()


class QueryBroadcastSmResp(MessageResp):
    """Answer query_broadcast_sm."""

    command: ClassVar[Command] = Command.QUERY_BROADCAST_SM_RESP


class CancelBroadcastSm(Pdu):
    """Take a broadcast back."""

    command: ClassVar[Command] = Command.CANCEL_BROADCAST_SM
    service_type: str = ""
    message_id: str = ""
    source: Address = Address()
    tlvs: Tlvs = ()


class CancelBroadcastSmResp(Pdu):
    """Answer cancel_broadcast_sm."""

    command: ClassVar[Command] = Command.CANCEL_BROADCAST_SM_RESP


def tlv(pdu: Any, tag: int) -> bytes | None:
    """Return an optional parameter's value, the last where it came more than once."""
    for known, value in reversed(pdu.tlvs):
        if known == tag:
            return bytes(value)
    return None
