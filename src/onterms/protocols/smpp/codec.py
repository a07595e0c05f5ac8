"""PDUs to bytes and back.

A PDU is a header of four 32-bit numbers (length, command, status, sequence) and a body: mandatory fields in a fixed
order, then optional parameters (TLVs) in any. The fields of each kind of body are declared once, in `_BODIES`; encoder
and decoder walk that declaration. The four kinds that make up nearly all traffic are written and read by code of their
own, which must agree with the declaration, and the tests compare them.

Real carriers write bodies that the specification does not allow: a response with an error and no body, a message id
without its end, octets behind an empty body. What cannot be misread is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from onterms.protocols.smpp.codes import RESPONSE, Status
from onterms.protocols.smpp.pdu import (
    Address,
    AlertNotification,
    BindReceiver,
    BindReceiverResp,
    BindTransceiver,
    BindTransceiverResp,
    BindTransmitter,
    BindTransmitterResp,
    BroadcastSm,
    BroadcastSmResp,
    CancelBroadcastSm,
    CancelBroadcastSmResp,
    CancelSm,
    CancelSmResp,
    DataSm,
    DataSmResp,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    EnquireLinkResp,
    GenericNack,
    Message,
    Outbind,
    Pdu,
    QueryBroadcastSm,
    QueryBroadcastSmResp,
    QuerySm,
    QuerySmResp,
    ReplaceSm,
    ReplaceSmResp,
    SubmitMulti,
    SubmitMultiResp,
    SubmitSm,
    SubmitSmResp,
    Tlvs,
    Unbind,
    UnbindResp,
    Unsuccessful,
)

HEADER_BYTES: Final = 16
# Ours: a message_payload has at most 64 KiB (its length has 16 bits), and a submit_multi 254 addresses of 25 octets.
PDU_BYTES_MAX: Final = 128 * 1024
SEQUENCE_MAX: Final = 0x7FFFFFFF

_HEADER: Final = struct.Struct(">IIII")
_TLV: Final = struct.Struct(">HH")


class FramingError(Exception):
    """The stream cannot be read on: a length that no PDU has."""

    def __init__(self, message: str, sequence: int) -> None:
        super().__init__(message)
        self.sequence = sequence


class BodyError(Exception):
    """One PDU cannot be read; `status` is what its sender is told."""

    def __init__(self, message: str, command: int, sequence: int, status: int) -> None:
        super().__init__(message)
        self.command = command
        self.sequence = sequence
        self.status = status


class _Text(NamedTuple):
    """A C-octet string; `max` counts its end, as the specification does."""

    name: str
    max: int


class _Int(NamedTuple):
    name: str


class _Address(NamedTuple):
    name: str
    max: int


class _Octets(NamedTuple):
    """Octets behind their count of one octet."""

    name: str


class _Destinations(NamedTuple):
    name: str


class _Refused(NamedTuple):
    name: str


_Field = _Text | _Int | _Address | _Octets | _Destinations | _Refused

# The lengths are SMPP 3.4's; a message id has 65 octets where 3.3 had 9, and hostile ones have more.
_MESSAGE_ID: Final = _Text("message_id", 65)
_TIMES: Final = (_Text("schedule_delivery_time", 17), _Text("validity_period", 17))
# 3.4 has 16; the SIDs by which customers bind here have 34 octets, and other SMSCs hand out long names too.
_SYSTEM_ID: Final = _Text("system_id", 65)
_BIND: Final[tuple[_Field, ...]] = (
    _SYSTEM_ID,
    # 3.4 has 9; carriers hand out longer ones, and their own servers take them.
    _Text("password", 65),
    _Text("system_type", 13),
    _Int("interface_version"),
    _Int("addr_ton"),
    _Int("addr_npi"),
    _Text("address_range", 41),
)
_CONTENT: Final[tuple[_Field, ...]] = (
    _Int("esm_class"),
    _Int("protocol_id"),
    _Int("priority_flag"),
    *_TIMES,
    _Int("registered_delivery"),
    _Int("replace_if_present_flag"),
    _Int("data_coding"),
    _Int("sm_default_msg_id"),
    _Octets("short_message"),
)
_ONE_TO_ONE: Final[tuple[_Field, ...]] = (
    _Text("service_type", 6),
    _Address("source", 21),
    _Address("destination", 21),
    *_CONTENT,
)
_BODIES: Final[dict[type[Pdu], tuple[_Field, ...]]] = {
    GenericNack: (),
    BindReceiver: _BIND,
    BindTransmitter: _BIND,
    BindTransceiver: _BIND,
    BindReceiverResp: (_SYSTEM_ID,),
    BindTransmitterResp: (_SYSTEM_ID,),
    BindTransceiverResp: (_SYSTEM_ID,),
    Outbind: (_SYSTEM_ID, _Text("password", 65)),
    Unbind: (),
    UnbindResp: (),
    EnquireLink: (),
    EnquireLinkResp: (),
    SubmitSm: _ONE_TO_ONE,
    DeliverSm: _ONE_TO_ONE,
    SubmitSmResp: (_MESSAGE_ID,),
    DeliverSmResp: (_MESSAGE_ID,),
    SubmitMulti: (_Text("service_type", 6), _Address("source", 21), _Destinations("destinations"), *_CONTENT),
    SubmitMultiResp: (_MESSAGE_ID, _Refused("unsuccessful")),
    DataSm: (
        _Text("service_type", 6),
        _Address("source", 65),
        _Address("destination", 65),
        _Int("esm_class"),
        _Int("registered_delivery"),
        _Int("data_coding"),
    ),
    DataSmResp: (_MESSAGE_ID,),
    QuerySm: (_MESSAGE_ID, _Address("source", 21)),
    QuerySmResp: (_MESSAGE_ID, _Text("final_date", 17), _Int("message_state"), _Int("error_code")),
    CancelSm: (_Text("service_type", 6), _MESSAGE_ID, _Address("source", 21), _Address("destination", 21)),
    CancelSmResp: (),
    ReplaceSm: (
        _MESSAGE_ID,
        _Address("source", 21),
        *_TIMES,
        _Int("registered_delivery"),
        _Int("sm_default_msg_id"),
        _Octets("short_message"),
    ),
    ReplaceSmResp: (),
    AlertNotification: (_Address("source", 65), _Address("esme", 65)),
    BroadcastSm: (
        _Text("service_type", 6),
        _Address("source", 21),
        _MESSAGE_ID,
        _Int("priority_flag"),
        *_TIMES,
        _Int("replace_if_present_flag"),
        _Int("data_coding"),
        _Int("sm_default_msg_id"),
    ),
    BroadcastSmResp: (_MESSAGE_ID,),
    QueryBroadcastSm: (_MESSAGE_ID, _Address("source", 21)),
    QueryBroadcastSmResp: (_MESSAGE_ID,),
    CancelBroadcastSm: (_Text("service_type", 6), _MESSAGE_ID, _Address("source", 21)),
    CancelBroadcastSmResp: (),
}
_OF_COMMAND: Final[Mapping[int, type[Pdu]]] = {int(kind.command): kind for kind in _BODIES}
_HAS_TLVS: Final = frozenset(kind for kind in _BODIES if "tlvs" in kind.__struct_fields__)
# The response to each request, by the request's command.
_RESPONSES: Final[Mapping[int, type[Pdu]]] = {
    command: _OF_COMMAND[command | RESPONSE] for command in _OF_COMMAND if command | RESPONSE in _OF_COMMAND
}


def response_to(request: Pdu, status: int = 0, **fields: Any) -> Pdu:
    """Make the response that answers a request.

    Raises: KeyError for a request that is not answered (outbind, alert_notification).
    """
    return _RESPONSES[int(request.command)](status=status, sequence=request.sequence, **fields)


def refusal_of(command: int, sequence: int, status: int) -> Pdu:
    """Make the response that refuses what could not be read: of its own kind where it has one, else generic_nack."""
    kind = _RESPONSES.get(command, GenericNack)
    return kind(status=status, sequence=sequence)


# ---- encoding


def encode(pdu: Pdu) -> bytes:
    """Write a PDU.

    Raises: ValueError for a field that is too long or that its encoding cannot hold.
    """
    if type(pdu) is SubmitSm or type(pdu) is DeliverSm:
        body = _message_body(pdu)
    elif type(pdu) is SubmitSmResp or type(pdu) is DeliverSmResp:
        body = _c_octets(pdu.message_id, 65, "message_id")
    else:
        body = _declared_body(pdu)
    tlvs: Tlvs = getattr(pdu, "tlvs", ())
    if tlvs:
        body += b"".join([_TLV.pack(tag, len(value)) + value for tag, value in tlvs])
    return _HEADER.pack(HEADER_BYTES + len(body), pdu.command, pdu.status, pdu.sequence) + body


def _message_body(pdu: Message) -> bytes:
    source, destination, text = pdu.source, pdu.destination, pdu.short_message
    if len(text) > 255:
        raise ValueError(f"short_message has {len(text)} octets, and its count holds 255")
    return b"%b%c%c%b%c%c%b%c%c%c%b%b%c%c%c%c%c%b" % (
        _c_octets(pdu.service_type, 6, "service_type"),
        source.ton,
        source.npi,
        _c_octets(source.number, 21, "source"),
        destination.ton,
        destination.npi,
        _c_octets(destination.number, 21, "destination"),
        pdu.esm_class,
        pdu.protocol_id,
        pdu.priority_flag,
        _c_octets(pdu.schedule_delivery_time, 17, "schedule_delivery_time"),
        _c_octets(pdu.validity_period, 17, "validity_period"),
        pdu.registered_delivery,
        pdu.replace_if_present_flag,
        pdu.data_coding,
        pdu.sm_default_msg_id,
        len(text),
        text,
    )


def _declared_body(pdu: Pdu) -> bytes:
    parts: list[bytes] = []
    for field in _BODIES[type(pdu)]:
        value = getattr(pdu, field.name)
        if isinstance(field, _Text):
            parts.append(_c_octets(value, field.max, field.name))
        elif isinstance(field, _Int):
            parts.append(b"%c" % value)
        elif isinstance(field, _Address):
            parts.append(_address(value, field.max, field.name))
        elif isinstance(field, _Octets):
            if len(value) > 255:
                raise ValueError(f"{field.name} has {len(value)} octets, and its count holds 255")
            parts.append(b"%c" % len(value) + value)
        elif isinstance(field, _Destinations):
            # SMPP 3.4 4.5.1: at most 254 destinations.
            if not 1 <= len(value) <= 254:
                raise ValueError("submit_multi has 1 to 254 destinations")
            parts.append(b"%c" % len(value))
            for each in value:
                parts.append(b"\x02" + _c_octets(each, 21, "dl_name") if isinstance(each, str) else b"\x01")
                if not isinstance(each, str):
                    parts.append(_address(each, 21, "destination"))
        else:
            if len(value) > 255:
                raise ValueError("submit_multi_resp names at most 255 recipients")
            parts.append(b"%c" % len(value))
            parts += [_address(each.address, 21, "destination") + each.status.to_bytes(4, "big") for each in value]
    return b"".join(parts)


def _address(address: Address, max_bytes: int, name: str) -> bytes:
    return b"%c%c%b" % (address.ton, address.npi, _c_octets(address.number, max_bytes, name))


def _c_octets(text: str, max_bytes: int, name: str) -> bytes:
    # What is not ASCII here is some carrier's habit; Latin-1 keeps its octets as they are.
    raw = text.encode("latin-1")
    if len(raw) >= max_bytes:
        raise ValueError(f"{name} has {len(raw)} octets, {max_bytes - 1} is the most")
    if b"\0" in raw:
        raise ValueError(f"{name} holds its own end")
    return raw + b"\0"


# ---- decoding


class Reader:
    """Bytes of a connection to frames, torn as they come."""

    def __init__(self, *, bytes_max: int = PDU_BYTES_MAX) -> None:
        self._buffer = bytearray()
        self._bytes_max = bytes_max

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes and yield each whole frame.

        Raises: FramingError; nothing behind it can be read.
        """
        buffer = self._buffer
        buffer += data
        start, end = 0, len(buffer)
        try:
            while end - start >= HEADER_BYTES:
                length = int.from_bytes(buffer[start : start + 4], "big")
                if not HEADER_BYTES <= length <= self._bytes_max:
                    sequence = int.from_bytes(buffer[start + 12 : start + 16], "big")
                    raise FramingError(f"no PDU has {length} octets", sequence)
                if end - start < length:
                    break
                frame = bytes(buffer[start : start + length])
                start += length
                yield frame
        finally:
            del buffer[:start]


def decode(frame: bytes) -> Pdu:
    """Read one frame.

    Raises: BodyError.
    """
    _, command, status, sequence = _HEADER.unpack_from(frame)
    kind = _OF_COMMAND.get(command)
    if kind is None:
        raise BodyError(f"unknown command 0x{command:08X}", command, sequence, Status.RINVCMDID)
    try:
        if kind is SubmitSm or kind is DeliverSm:
            return _read_message(kind, frame, status, sequence)
        if (kind is SubmitSmResp or kind is DeliverSmResp) and frame[-1:] == b"\0" and frame.count(b"\0", 16) == 1:
            return kind(status, sequence, frame[HEADER_BYTES:-1].decode("latin-1"))
        return _read_declared(kind, frame, status, sequence)
    except _Short as problem:
        raise BodyError(str(problem), command, sequence, problem.status) from None


class _Short(Exception):
    def __init__(self, message: str, status: int = Status.RINVMSGLEN) -> None:
        super().__init__(message)
        self.status = status


# What a field that is too long is answered with (SMPP 3.4 5.1.3).
_TOO_LONG: Final[Mapping[str, int]] = {
    "system_id": Status.RINVSYSID,
    "password": Status.RINVPASWD,
    "system_type": Status.RINVSYSTYP,
    "service_type": Status.RINVSERTYP,
    "source": Status.RINVSRCADR,
    "destination": Status.RINVDSTADR,
    "message_id": Status.RINVMSGID,
    "schedule_delivery_time": Status.RINVSCHED,
    "validity_period": Status.RINVEXPIRY,
    "dl_name": Status.RINVDLNAME,
}


def _read_message(kind: type[Message], frame: bytes, status: int, sequence: int) -> Pdu:
    # One look-up of the end a text, no slice a number.
    find = frame.find
    try:
        end = find(b"\0", 16)
        service_type = frame[16:end]
        source_ton, source_npi = frame[end + 1], frame[end + 2]
        begin = end + 3
        end = find(b"\0", begin)
        source = frame[begin:end]
        dest_ton, dest_npi = frame[end + 1], frame[end + 2]
        begin = end + 3
        end = find(b"\0", begin)
        destination = frame[begin:end]
        esm_class, protocol_id, priority = frame[end + 1], frame[end + 2], frame[end + 3]
        begin = end + 4
        end = find(b"\0", begin)
        schedule = frame[begin:end]
        begin = end + 1
        end = find(b"\0", begin)
        validity = frame[begin:end]
        registered, replace, coding, default_id, length = frame[end + 1 : end + 6]
    except (IndexError, ValueError):
        raise _Short("the body ends within its fields") from None
    begin = end + 6
    end = begin + length
    # A missing end of a text makes find return -1, and then begins do not grow.
    if begin < 33 or end > len(frame):
        raise _Short("the body ends within its fields")
    if (
        len(service_type) > 5
        or len(source) > 20
        or len(destination) > 20
        or len(schedule) > 16
        or len(validity) > 16
        # Torn fields: the declared way finds out which and says so.
        or frame[16:begin].count(b"\0") < 5
    ):
        return _read_declared(kind, frame, status, sequence)
    return kind(
        status,
        sequence,
        service_type.decode("latin-1"),
        Address(source_ton, source_npi, source.decode("latin-1")),
        Address(dest_ton, dest_npi, destination.decode("latin-1")),
        esm_class,
        protocol_id,
        priority,
        schedule.decode("latin-1"),
        validity.decode("latin-1"),
        registered,
        replace,
        coding,
        default_id,
        frame[begin:end],
        _read_tlvs(frame, end) if end < len(frame) else (),
    )


class _Cursor:
    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        self.at = HEADER_BYTES

    @property
    def is_at_end(self) -> bool:
        return self.at >= len(self.frame)

    def number(self) -> int:
        if self.is_at_end:
            raise _Short("the body ends within its fields")
        self.at += 1
        return self.frame[self.at - 1]

    def octets(self, count: int) -> bytes:
        if self.at + count > len(self.frame):
            raise _Short("the body ends within its fields")
        self.at += count
        return self.frame[self.at - count : self.at]

    def text(self, max_bytes: int, name: str) -> str:
        end = self.frame.find(b"\0", self.at)
        if end < 0:
            raise _Short(f"{name} has no end")
        if end - self.at >= max_bytes:
            raise _Short(f"{name} has more than {max_bytes - 1} octets", _TOO_LONG.get(name, Status.RINVMSGLEN))
        begin, self.at = self.at, end + 1
        return self.frame[begin:end].decode("latin-1")

    def address(self, max_bytes: int, name: str) -> Address:
        return Address(self.number(), self.number(), self.text(max_bytes, name))


def _read_declared(kind: type[Pdu], frame: bytes, status: int, sequence: int) -> Pdu:
    pdu = kind(status=status, sequence=sequence)
    cursor = _Cursor(frame)
    fields = _BODIES[kind]
    # A response that says no may leave its body out (SMPP 3.4 4.1.2 and others), and some leave it out of a yes too.
    if pdu.is_response and cursor.is_at_end:
        return pdu
    if pdu.is_response and fields and b"\0" not in frame[HEADER_BYTES:]:
        # Some carriers write the id without its end.
        frame += b"\0"
        cursor.frame = frame
    for field in fields:
        value: Any
        if isinstance(field, _Text):
            value = cursor.text(field.max, field.name)
        elif isinstance(field, _Int):
            value = cursor.number()
        elif isinstance(field, _Address):
            value = cursor.address(field.max, field.name)
        elif isinstance(field, _Octets):
            value = cursor.octets(cursor.number())
        elif isinstance(field, _Destinations):
            value = tuple(_destination(cursor) for _ in range(cursor.number()))
            if not value:
                raise _Short("submit_multi without destinations", Status.RINVNUMDESTS)
        else:
            value = tuple(
                Unsuccessful(cursor.address(21, "destination"), int.from_bytes(cursor.octets(4), "big"))
                for _ in range(cursor.number())
            )
        setattr(pdu, field.name, value)
    if kind in _HAS_TLVS and not cursor.is_at_end:
        pdu.tlvs = _read_tlvs(frame, cursor.at)  # type: ignore[attr-defined]
    return pdu


def _destination(cursor: _Cursor) -> Address | str:
    flag = cursor.number()
    if flag == 1:
        return cursor.address(21, "destination")
    if flag == 2:
        return cursor.text(21, "dl_name")
    raise _Short(f"no destination has the flag {flag}", Status.RINVDESTFLAG)


def _read_tlvs(frame: bytes, at: int) -> Tlvs:
    found: list[tuple[int, bytes]] = []
    end = len(frame)
    while at < end:
        if at + 4 > end:
            raise _Short("the body ends within an optional parameter", Status.RINVTLVSTREAM)
        tag, length = _TLV.unpack_from(frame, at)
        at += 4
        if at + length > end:
            raise _Short("an optional parameter is longer than its PDU", Status.RINVTLVLEN)
        found.append((tag, frame[at : at + length]))
        at += length
    return tuple(found)
