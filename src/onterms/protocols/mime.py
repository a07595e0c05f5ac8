"""What kind of file bytes are, by their own signature: a server's or a sender's word is not trusted.

Source: the file formats' own specifications; media types as registered with IANA.
"""

# (offset, signature, media type); the first that fits wins.
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/wav"),
    (4, b"ftyp3g", "video/3gpp"),
    (4, b"ftypqt", "video/quicktime"),
    (4, b"ftypheic", "image/heic"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftyp", "video/mp4"),
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"\xff\xf3", "audio/mpeg"),
    (0, b"#!AMR", "audio/amr"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (0, b"BM", "image/bmp"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (0, b"BEGIN:VCARD", "text/vcard"),
    (0, b"BEGIN:VCALENDAR", "text/calendar"),
)
# Texts have no signature; these declared types are believed for bytes that are text.
_TEXTS = frozenset({"text/plain", "text/csv", "text/vcard", "text/x-vcard", "text/calendar", "text/rtf"})
# Containers say what they are and not what is in them; these declared types are believed for them.
_OFFICE = "application/vnd.openxmlformats-officedocument."
_CONTAINERS: tuple[tuple[bytes, frozenset[str]], ...] = (
    (
        b"PK\x03\x04",
        frozenset(
            {
                "application/vnd.apple.pkpass",
                _OFFICE + "presentationml.presentation",
                _OFFICE + "spreadsheetml.sheet",
                _OFFICE + "wordprocessingml.document",
            }
        ),
    ),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        frozenset({"application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint"}),
    ),
)
UNKNOWN = "application/octet-stream"


def sniff(data: bytes, declared: str = "") -> str:
    """Return the media type of a file.

    Only a text is believed what was declared for it; markup is never, so that nothing stored is served as a page.
    """
    for offset, signature, kind in _SIGNATURES:
        if data.startswith(signature, offset):
            return kind
    wanted = declared.partition(";")[0].strip().lower()
    for signature, kinds in _CONTAINERS:
        if data.startswith(signature):
            return wanted if wanted in kinds else UNKNOWN
    try:
        data[:65536].decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        # A character cut at the end of what was looked at is no sign of binary data.
        if error.start < min(len(data), 65536) - 4:
            return UNKNOWN
    if b"\x00" in data[:65536] or not data:
        return UNKNOWN
    return wanted if wanted in _TEXTS else "text/plain"
