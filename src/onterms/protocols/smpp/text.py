"""Texts in SMPP: alphabets, parts of long messages, and putting the parts together again.

A text longer than one SMS travels in parts in one of three ways (`Long`): with a user data header in each part (UDH,
what handsets know), with SAR optional parameters, which the SMSC turns into such headers, or whole in message_payload,
which the SMSC cuts itself. Which one a carrier takes is its own affair, so it is a setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

from onterms.protocols import gsm
from onterms.protocols.smpp.codes import ESM_UDHI, DataCoding, Tag
from onterms.protocols.smpp.pdu import Tlvs, tlv

# What a carrier's own alphabet (data_coding 0) is: GSM 03.38 with an octet a septet at most, some have Latin-1, and
# some pack the septets as they are in the air.
Alphabet = Literal["gsm", "gsm-packed", "latin-1", "ascii"]
Long = Literal["udh", "udh16", "sar", "payload"]

# 3GPP TS 23.040 9.2.3.24: information elements of the user data header.
_IE_CONCAT_8: Final = 0x00
_IE_CONCAT_16: Final = 0x08
_IE_PORTS_8: Final = 0x04
_IE_PORTS_16: Final = 0x05

# 3GPP TS 23.040: user data of one SMS.
_OCTETS: Final = 140


class Part(NamedTuple):
    """One PDU's worth of a text."""

    esm_class: int
    data_coding: int
    short_message: bytes
    tlvs: Tlvs


class Place(NamedTuple):
    """Which part of which message this is."""

    reference: int
    total: int
    number: int


class Content(NamedTuple):
    """What a PDU carries: a text, or octets that are none.

    Shapes: `text` is None for binary content; `ports` are (destination, source) where a header names them.
    """

    text: str | None
    octets: bytes
    place: Place | None
    ports: tuple[int, int] | None


class UnreadableContent(ValueError):
    """The octets are not what their data_coding says."""


# ---- sending


def parts(text: str, reference: int, *, alphabet: Alphabet = "gsm", long: Long = "udh") -> list[Part]:
    """Cut a text into the PDUs that carry it, in order.

    Units: `reference` names the message among those of its sender to its recipient; 8 or 16 bits of it are used.
    """
    coding, encoded = _encoded(text, alphabet)
    if len(encoded) == 1:
        return [Part(0, coding, encoded[0], ())]
    if long == "payload":
        return [Part(0, coding, b"", ((int(Tag.MESSAGE_PAYLOAD), _whole(text, coding, alphabet)),))]
    total = len(encoded)
    if total > 255:
        raise ValueError(f"a message has at most 255 parts, this one {total}")
    made: list[Part] = []
    for number, octets in enumerate(encoded, 1):
        if long == "sar":
            sar: Tlvs = (
                (int(Tag.SAR_MSG_REF_NUM), (reference & 0xFFFF).to_bytes(2, "big")),
                (int(Tag.SAR_TOTAL_SEGMENTS), bytes([total])),
                (int(Tag.SAR_SEGMENT_SEQNUM), bytes([number])),
            )
            made.append(Part(0, coding, octets, sar))
            continue
        if long == "udh16":
            header = bytes([6, _IE_CONCAT_16, 4, reference >> 8 & 0xFF, reference & 0xFF, total, number])
        else:
            header = bytes([5, _IE_CONCAT_8, 3, reference & 0xFF, total, number])
        if coding == DataCoding.DEFAULT and alphabet == "gsm-packed":
            octets = _pack_behind(header, octets)
        made.append(Part(ESM_UDHI, coding, header + octets, ()))
    return made


def _encoded(text: str, alphabet: Alphabet) -> tuple[int, list[bytes]]:
    """Return data_coding and the octets of each part; septets are packed only once their header is known."""
    if gsm.is_gsm7(text) and alphabet in ("gsm", "gsm-packed"):
        pieces = [gsm.encode_gsm7(piece) for piece in gsm.split(text)]
        if alphabet == "gsm-packed" and len(pieces) == 1:
            pieces = [gsm.pack_septets(pieces[0])]
        return int(DataCoding.DEFAULT), pieces
    if alphabet in ("latin-1", "ascii"):
        # An SMSC whose alphabet is not GSM's turns texts into GSM itself, so the parts must be cut by GSM's measure.
        codec = "latin-1" if alphabet == "latin-1" else "ascii"
        try:
            if gsm.is_gsm7(text):
                return int(DataCoding.DEFAULT), [piece.encode(codec) for piece in gsm.split(text)]
        except UnicodeEncodeError:
            pass
    pieces_of_text = gsm.split(text) if not gsm.is_gsm7(text) else _ucs2_split(text)
    return int(DataCoding.UCS2), [piece.encode("utf-16-be", "surrogatepass") for piece in pieces_of_text]


def _ucs2_split(text: str) -> list[str]:
    # Only for texts of the GSM alphabet, which has no surrogate pairs.
    if len(text) <= gsm.UCS2_SINGLE_UNITS:
        return [text]
    return [text[at : at + gsm.UCS2_PART_UNITS] for at in range(0, len(text), gsm.UCS2_PART_UNITS)]


def _whole(text: str, coding: int, alphabet: Alphabet) -> bytes:
    if coding == DataCoding.UCS2:
        return text.encode("utf-16-be", "surrogatepass")
    if alphabet in ("latin-1", "ascii"):
        return text.encode("latin-1")
    septets = gsm.encode_gsm7(text)
    return gsm.pack_septets(septets) if alphabet == "gsm-packed" else septets


def _pack_behind(header: bytes, septets: bytes) -> bytes:
    # 3GPP TS 23.040 9.2.3.24: the text begins at the next septet boundary behind the header.
    return gsm.pack_septets(septets, fill_bits=-len(header) * 8 % 7)


# ---- receiving


def content_of(pdu: Any, *, alphabet: Alphabet = "gsm") -> Content:
    """Read what a deliver_sm, submit_sm or data_sm carries.

    Raises: UnreadableContent.
    """
    payload = tlv(pdu, Tag.MESSAGE_PAYLOAD)
    octets: bytes = getattr(pdu, "short_message", b"") or payload or b""
    place: Place | None = None
    ports: tuple[int, int] | None = None
    header_octets = 0
    if pdu.esm_class & ESM_UDHI and octets:
        header_octets = octets[0] + 1
        if header_octets > len(octets):
            raise UnreadableContent("the user data header is longer than the user data")
        place, ports = _read_header(octets[1:header_octets])
        octets = octets[header_octets:]
    if place is None:
        place = _sar_place(pdu)
    return Content(_decoded(octets, pdu.data_coding, alphabet, header_octets), octets, place, ports)


def _sar_place(pdu: Any) -> Place | None:
    reference = tlv(pdu, Tag.SAR_MSG_REF_NUM)
    total = tlv(pdu, Tag.SAR_TOTAL_SEGMENTS)
    number = tlv(pdu, Tag.SAR_SEGMENT_SEQNUM)
    if not (reference and total and number):
        return None
    return _checked(Place(int.from_bytes(reference, "big"), total[-1], number[-1]))


def _checked(place: Place) -> Place | None:
    # 3GPP TS 23.040 9.2.3.24.1: an element with impossible numbers is ignored. One part of one needs no waiting.
    return place if 1 <= place.number <= place.total and place.total > 1 else None


def _read_header(header: bytes) -> tuple[Place | None, tuple[int, int] | None]:
    place: Place | None = None
    ports: tuple[int, int] | None = None
    at = 0
    while at + 2 <= len(header):
        kind, length = header[at], header[at + 1]
        value = header[at + 2 : at + 2 + length]
        at += 2 + length
        if len(value) < length:
            break
        if kind == _IE_CONCAT_8 and length == 3:
            place = _checked(Place(value[0], value[1], value[2]))
        elif kind == _IE_CONCAT_16 and length == 4:
            place = _checked(Place(value[0] << 8 | value[1], value[2], value[3]))
        elif kind == _IE_PORTS_8 and length == 2:
            ports = (value[0], value[1])
        elif kind == _IE_PORTS_16 and length == 4:
            ports = (value[0] << 8 | value[1], value[2] << 8 | value[3])
    return place, ports


_CODECS: Final[Mapping[int, str]] = {
    DataCoding.ASCII: "ascii",
    DataCoding.LATIN_1: "latin-1",
    DataCoding.JIS: "shift_jis",
    DataCoding.CYRILLIC: "iso8859-5",
    DataCoding.HEBREW: "iso8859-8",
    DataCoding.ISO_2022_JP: "iso2022_jp",
    DataCoding.EXTENDED_KANJI_JIS: "euc_jp",
    DataCoding.KS_C_5601: "euc_kr",
}


def _decoded(octets: bytes, coding: int, alphabet: Alphabet, header_octets: int) -> str | None:
    kind = _kind(coding)
    if kind == "binary":
        return None
    try:
        if kind == "ucs2":
            # A part with half a character at its end is whole again once the parts are joined by their texts.
            return octets.decode("utf-16-be", "surrogatepass")
        if kind == "default":
            return _from_default(octets, alphabet, header_octets)
        return octets.decode(kind)
    except (UnicodeDecodeError, gsm.InvalidSeptets) as problem:
        raise UnreadableContent(f"the text is not what data_coding {coding} says") from problem


def _kind(coding: int) -> str:
    """Return `default`, `ucs2`, `binary` or a codec's name. Source: SMPP 3.4 5.2.19, 3GPP TS 23.038 4."""
    if coding == DataCoding.DEFAULT:
        return "default"
    if coding == DataCoding.UCS2:
        return "ucs2"
    codec = _CODECS.get(coding)
    if codec is not None:
        return codec
    if coding in (DataCoding.OCTETS, DataCoding.OCTETS_8BIT, DataCoding.PICTOGRAM):
        return "binary"
    if coding >= 0xF0:
        return "binary" if coding & 0x04 else "default"
    if 0xE0 <= coding < 0xF0:
        return "ucs2"
    if coding >= 0xC0:
        return "default"
    if coding < 0x80:
        # General data coding: bits 3 and 2 are the alphabet.
        return ("default", "binary", "ucs2", "binary")[coding >> 2 & 3] if coding & 0x10 else "binary"
    return "binary"


def _from_default(octets: bytes, alphabet: Alphabet, header_octets: int) -> str:
    if alphabet in ("latin-1", "ascii"):
        return octets.decode("latin-1")
    if alphabet == "gsm-packed":
        fill = -header_octets * 8 % 7
        count = (len(octets) * 8 - fill) // 7
        septets = gsm.unpack_septets(octets, count, fill_bits=fill)
        # 3GPP TS 23.038 6.1.2.3.1: seven spare bits at the end are padded with a carriage return, or read as "@".
        if (len(octets) * 8 - fill) % 7 == 0 and septets[-1:] in (b"\r", b"\0"):
            septets = septets[:-1]
        return gsm.decode_gsm7(septets)
    if not octets.isascii():
        # An SMSC that calls its alphabet GSM and sends Latin-1 all the same; only that has octets above 0x7F.
        return octets.decode("latin-1")
    return gsm.decode_gsm7(octets)


# ---- putting together


class _Gathering(NamedTuple):
    pieces: dict[int, Content]
    total: int
    since: datetime


class Assembler:
    """Long messages out of their parts, which come in any order and sometimes twice.

    A message whose parts do not all come within `wait` is given up as what has come, in order.
    """

    def __init__(self, *, wait: timedelta = timedelta(hours=24), messages_max: int = 10_000) -> None:
        self._wait = wait
        self._messages_max = messages_max
        self._gathering: dict[tuple[str, str, int, int], _Gathering] = {}

    def add(self, sender: str, recipient: str, content: Content, at: datetime) -> Content | None:
        """Add a part; the whole message once it is complete, None before."""
        place = content.place
        if place is None:
            return content
        key = (sender, recipient, place.reference, place.total)
        found = self._gathering.get(key)
        if found is None:
            if len(self._gathering) >= self._messages_max:
                # The oldest is the first that was put in.
                del self._gathering[next(iter(self._gathering))]
            found = self._gathering[key] = _Gathering({}, place.total, at)
        found.pieces[place.number] = content
        if len(found.pieces) < found.total:
            return None
        del self._gathering[key]
        return _joined(found.pieces)

    def overdue(self, at: datetime) -> list[tuple[str, str, Content]]:
        """Take out what has waited too long: (sender, recipient, what has come)."""
        late = [key for key, found in self._gathering.items() if found.since + self._wait <= at]
        return [(key[0], key[1], _joined(self._gathering.pop(key).pieces)) for key in late]


def _joined(pieces: Mapping[int, Content]) -> Content:
    ordered = [pieces[number] for number in sorted(pieces)]
    octets = b"".join(each.octets for each in ordered)
    texts = [each.text for each in ordered]
    text: str | None = None
    if None not in texts:
        text = "".join(each for each in texts if each is not None)
        # A surrogate pair that was cut in two.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return Content(text, octets, None, ordered[0].ports)
