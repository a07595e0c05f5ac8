"""GSM 03.38 text: the seven-bit alphabet, septet packing, segment counting and smart encoding.

How it works. A text is GSM-7 when every character is in the default alphabet (one septet each) or in the
extension table (an escape septet and one more); anything else makes the whole text UCS-2, counted in UTF-16 code
units. A text that fits one SMS is one segment; a longer one is cut into parts that each give six octets to the
concatenation header. A cut never falls between an escape and its septet, nor inside a surrogate pair, so a part may
end one unit early and the count is found by walking the cuts, not by dividing.

`segment` runs once per accepted message, so texts of the default alphabet alone take one regular expression match.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

Encoding = Literal["GSM-7", "UCS-2"]

# 3GPP TS 23.040 9.2.3.24.1: 140 octets of user data hold 160 septets or 70 UCS-2 units; the six-octet
# concatenation header with an 8-bit reference leaves 153 septets or 67 units to each part.
GSM7_SINGLE_UNITS: Final = 160
GSM7_PART_UNITS: Final = 153
UCS2_SINGLE_UNITS: Final = 70
UCS2_PART_UNITS: Final = 67

ESCAPE: Final = 0x1B

# 3GPP TS 23.038 6.2.1: the default alphabet in code order; 0x1B is the escape to the extension table.
_DEFAULT_ALPHABET: Final = (
    "@£$¥èéùìòÇ\nØø\rÅå"
    "Δ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ"
    " !\"#¤%&'()*+,-./"
    "0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNO"
    "PQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmno"
    "pqrstuvwxyzäöñüà"
)

# 3GPP TS 23.038 6.2.1.1: the default extension table, reached by an escape.
_EXTENSION: Final[dict[int, str]] = {
    0x0A: "\f",
    0x14: "^",
    0x28: "{",
    0x29: "}",
    0x2F: "\\",
    0x3C: "[",
    0x3D: "~",
    0x3E: "]",
    0x40: "|",
    0x65: "€",
}

_BASIC_CHARACTERS: Final = _DEFAULT_ALPHABET.replace("\x1b", "")
_EXTENSION_CHARACTERS: Final = "".join(_EXTENSION.values())

_BASIC_CLASS: Final = re.escape(_BASIC_CHARACTERS)
_is_basic: Final = re.compile(f"[{_BASIC_CLASS}]*").fullmatch
_is_gsm7: Final = re.compile(f"[{_BASIC_CLASS}{re.escape(_EXTENSION_CHARACTERS)}]*").fullmatch
_find_foreign: Final = re.compile(f"[^{_BASIC_CLASS}{re.escape(_EXTENSION_CHARACTERS)}]").search

# Characters map to their septets written as Latin-1, so one translate and one encode do a whole text.
_TO_SEPTETS: Final[dict[int, str]] = {
    ord(character): chr(code) for code, character in enumerate(_DEFAULT_ALPHABET) if code != ESCAPE
} | {ord(character): chr(ESCAPE) + chr(code) for code, character in _EXTENSION.items()}
_FROM_SEPTETS: Final[dict[int, str]] = dict(enumerate(_DEFAULT_ALPHABET))


def _smart_table() -> dict[int, str]:
    """Build the look-alike table of Smart Encoding.

    Source: Twilio docs, messaging/services/smart-encoding-char-list, as read from public copies of that page. Where
    the copies leave a cell blank the choice is ours: an apostrophe for the quotes, a space for visible white space,
    nothing for zero-width characters and controls, a comma for the vertical presentation forms of a comma.
    """
    families = {
        '"': "\u00ab\u00bb\u02ba\u02ee\u201c\u201d\u201e\u201f\u275d\u275e\u301d\u301e",
        "'": "\u0060\u00b4\u02b9\u02bb\u02bc\u02bd\u02c8\u02ca\u02cb\u0313\u0314\u2018\u2019\u201b\u275b\u275c",
        "/": "\u00f7\u0337\u0338\u2044\u2215\u29f8",
        "\\": "\u20e5\u29f5\u29f9\ufe68",
        "_": "\u0332\u2017",
        "|": "\u20d2\u20d3\u2223\u239c\u239f\u23b8\u23b9\u23d0",
        "-": "\u2010\u2013\u2014\u2015\u2022\u2043\u23bc\u23bd\ufe63",
        "@": "\ufe6b",
        "$": "\ufe69",
        "!": "\u01c3\ufe15\ufe57",
        "#": "\ufe5f",
        "%": "\ufe6a",
        "&": "\ufe60",
        ",": "\u0326\u201a\u3001\ufe10\ufe11\ufe50\ufe51\uff64",
        "(": "\u2768\u276a\u27ee\u2985\ufe59",
        ")": "\u2769\u276b\u27ef\u2986\ufe5a",
        "*": "\u204e\u2217\u229b\u2722\u2723\u2724\u2725\u2731\u2732\u2733\u273a\u273b\u273c\u273d\u2743\u2749\u274a"
        "\u274b\u29c6\ufe61",
        "+": "\u02d6\ufe62",
        ".": "\u3002\ufe52\uff61",
        ":": "\u02d0\u02f8\u2982\ua789\ufe13",
        ";": "\u204f\ufe14\ufe54",
        # The published list turns each single angle quote the other way round; billing must match it, so it stays.
        "<": "\u203a\ufe64",
        ">": "\u2039\ufe65",
        "=": "\u0347\ua78a\ufe66",
        "?": "\ufe16\ufe56",
        "^": "\u02c6\u0302\u1dcd",
        "~": "\u02dc\u02f7\u0303\u0330\u0334\u223c",
        "{": "\u2774\ufe5b",
        "}": "\u2775\ufe5c",
        "1/4": "\u00bc",
        "1/2": "\u00bd",
        "3/4": "\u00be",
        "!!": "\u203c",
        "...": "\u2026",
        " ": "\t\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000",
        "": "\u200b\u2060\ufeff\x00\x03\x04\x10\x11\x12\x13\x14\x17\x19\x80\x8d\x90\x9b\x9f",
    }
    table = {ord(character): reply for reply, family in families.items() for character in family}
    # The fullwidth forms stand 0xFEE0 above ASCII. The list has no rows for fullwidth small letters (U+FF41 to
    # U+FF5A), so a text that holds one stays UCS-2.
    for first, last in ((0xFF01, 0xFF3F), (0xFF5B, 0xFF5E)):
        for code in range(first, last + 1):
            table[code] = chr(code - 0xFEE0)
    capitals = "\u1d00\u0299\u1d04\u1d05\u1d07\ua730\u0262\u029c\u026a\u1d0a\u1d0b\u029f\u1d0d\u0274\u1d0f\u1d18"
    table.update(zip(map(ord, capitals), "ABCDEFGHIJKLMNOP", strict=True))
    table.update(zip(map(ord, "\u0280\ua731\u1d1b\u1d1c\u1d20\u1d21\u028f\u1d22"), "RSTUVWYZ", strict=True))
    return table


_SMART: Final = _smart_table()


class UnencodableText(ValueError):
    """A text has a character that the GSM alphabet lacks: the caller's mistake."""

    def __init__(self, index: int) -> None:
        # The text is a customer's message, so neither it nor the character goes into the words of the error.
        super().__init__(f"the character at index {index} is not in the GSM 03.38 alphabet")
        self.index = index


class InvalidSeptets(ValueError):
    """Received octets are not GSM septets: the peer's mistake."""


class Segmentation(NamedTuple):
    """Say how a text travels: its encoding, its number of SMS parts, the text as sent, and its size.

    Units: `units` counts septets for GSM-7 and UTF-16 code units for UCS-2, without headers.
    """

    encoding: Encoding
    segments: int
    text: str
    units: int


def is_gsm7(text: str) -> bool:
    """Tell whether every character is in the default alphabet or its extension table."""
    return _is_gsm7(text) is not None


def encode_gsm7(text: str) -> bytes:
    """Encode a text as septets, one octet each; `pack_septets` packs them.

    Raises: UnencodableText at the first character outside the alphabet.
    """
    foreign = _find_foreign(text)
    if foreign is not None:
        raise UnencodableText(foreign.start())
    return text.translate(_TO_SEPTETS).encode("latin-1")


def decode_gsm7(septets: bytes) -> str:
    """Decode septets, one octet each, into text.

    Raises: InvalidSeptets when an octet is above 0x7F.
    """
    if not septets.isascii():
        raise InvalidSeptets("an octet of GSM 7-bit text is above 0x7F")
    raw = septets.decode("ascii")
    if ESCAPE not in septets:
        return raw.translate(_FROM_SEPTETS)
    # The escapes are resolved on the raw septets. Text already resolved must not be translated again, so the
    # pieces between escapes go through the default alphabet one by one.
    pieces: list[str] = []
    position = 0
    while (escape := septets.find(ESCAPE, position)) >= 0:
        pieces.append(raw[position:escape].translate(_FROM_SEPTETS))
        pieces.append(_unescape(septets[escape + 1 : escape + 2]))
        position = escape + 2
    pieces.append(raw[position:].translate(_FROM_SEPTETS))
    return "".join(pieces)


def _unescape(septet: bytes) -> str:
    # 3GPP TS 23.038 6.2.1.1: a code that the extension table lacks is shown as in the default alphabet. 6.2.1 note 1
    # and the second escape, reserved for a further table, are shown as a space; so is an escape that ends the text.
    if not septet or septet[0] == ESCAPE:
        return " "
    return _EXTENSION.get(septet[0]) or _DEFAULT_ALPHABET[septet[0]]


def pack_septets(septets: bytes, *, fill_bits: int = 0) -> bytes:
    """Pack septets into octets, low bits first.

    Units: `fill_bits` (0 to 6) zero bits go first, to bring the text to a septet boundary after a header.
    Source: 3GPP TS 23.038 6.1.2.1, TS 23.040 9.2.3.24.
    """
    if not 0 <= fill_bits <= 6:
        raise ValueError("fill_bits is from 0 to 6")
    if not septets.isascii():
        raise InvalidSeptets("an octet of GSM 7-bit text is above 0x7F")
    packed = bytearray()
    pending, pending_bits = 0, fill_bits
    for septet in septets:
        pending |= septet << pending_bits
        pending_bits += 7
        if pending_bits >= 8:
            packed.append(pending & 0xFF)
            pending >>= 8
            pending_bits -= 8
    if pending_bits and septets:
        packed.append(pending)
    return bytes(packed)


def unpack_septets(packed: bytes, count: int, *, fill_bits: int = 0) -> bytes:
    """Unpack `count` septets from octets; the inverse of `pack_septets`.

    The count is needed because seven spare bits at the end look like a last "@".

    Raises: InvalidSeptets when the octets hold fewer septets than the count.
    """
    if not 0 <= fill_bits <= 6:
        raise ValueError("fill_bits is from 0 to 6")
    if count < 0 or (count and fill_bits + 7 * count > 8 * len(packed)):
        raise InvalidSeptets(f"{len(packed)} octets do not hold {count} septets")
    septets = bytearray()
    pending, pending_bits, skip = 0, 0, fill_bits
    for octet in packed:
        pending |= octet << pending_bits
        pending_bits += 8
        if skip:
            pending >>= skip
            pending_bits -= skip
            skip = 0
        while pending_bits >= 7:
            septets.append(pending & 0x7F)
            pending >>= 7
            pending_bits -= 7
    return bytes(septets[:count])


def smart_encode(text: str) -> str:
    """Replace characters by GSM look-alikes when that makes the whole text GSM-7; else return it unchanged."""
    if _is_gsm7(text) is not None:
        return text
    replaced = text.translate(_SMART)
    return replaced if _is_gsm7(replaced) is not None else text


def segment(text: str, *, smart_encoded: bool = False) -> Segmentation:
    """Count the SMS parts of a text, after smart encoding when asked for.

    An empty text is one segment: it still travels as one SMS.
    """
    if smart_encoded:
        text = smart_encode(text)
    if _is_basic(text) is not None:
        units = len(text)
        return Segmentation("GSM-7", 1 if units <= GSM7_SINGLE_UNITS else -(-units // GSM7_PART_UNITS), text, units)
    if _is_gsm7(text) is not None:
        septets = encode_gsm7(text)
        return Segmentation("GSM-7", len(_gsm7_cuts(septets)), text, len(septets))
    units = _utf16_units(text)
    if units == len(text):
        return Segmentation("UCS-2", 1 if units <= UCS2_SINGLE_UNITS else -(-units // UCS2_PART_UNITS), text, units)
    return Segmentation("UCS-2", len(_ucs2_cuts(text, units)), text, units)


def split(text: str) -> list[str]:
    """Cut a text into the texts of its SMS parts; joined they give the text back."""
    if _is_gsm7(text) is not None:
        septets = encode_gsm7(text)
        parts, start = [], 0
        for end in _gsm7_cuts(septets):
            parts.append(decode_gsm7(septets[start:end]))
            start = end
        return parts
    parts, start = [], 0
    for end in _ucs2_cuts(text, _utf16_units(text)):
        parts.append(text[start:end])
        start = end
    return parts


def _gsm7_cuts(septets: bytes) -> list[int]:
    """Return the index after each part's last septet."""
    total = len(septets)
    if total <= GSM7_SINGLE_UNITS:
        return [total]
    cuts = []
    end = 0
    while end < total:
        end += GSM7_PART_UNITS
        # 3GPP TS 23.040 9.2.3.24.1: a character formed by an escape is not split in the middle.
        if end < total and septets[end - 1] == ESCAPE:
            end -= 1
        cuts.append(min(end, total))
    return cuts


def _ucs2_cuts(text: str, units: int) -> list[int]:
    """Return the index after each part's last character."""
    if units <= UCS2_SINGLE_UNITS:
        return [len(text)]
    cuts = []
    filled = 0
    for index, character in enumerate(text):
        size = 2 if character > "\uffff" else 1
        # A handset that gets half a surrogate pair in each part shows two broken characters.
        if filled + size > UCS2_PART_UNITS:
            cuts.append(index)
            filled = 0
        filled += size
    cuts.append(len(text))
    return cuts


def _utf16_units(text: str) -> int:
    # Lone surrogates can come out of a JSON body; they count as the one unit they would travel as.
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
