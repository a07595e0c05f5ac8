"""What files a message may carry: types and sizes, and what a picture's header says."""

from collections.abc import Sequence
from typing import Final

from onterms.ports.media import Fetched, FetchFailed
from onterms.protocols.images import measure

# Twilio docs, "Accepted content types for media": 5 MB in all for one MMS, 16 MB for RCS and WhatsApp.
MMS_BYTES_MAX: Final = 5 * 1024 * 1024
CHANNEL_BYTES_MAX: Final = 16 * 1024 * 1024
# Twilio docs, Messages resource, MediaUrl: these to 5 MB, other types to 500 KB.
FORMATTED: Final = frozenset({"image/jpeg", "image/jpg", "image/gif", "image/png"})
OTHER_BYTES_MAX: Final = 500 * 1024
# Ours, as engines/imaging has it: what no phone's camera makes, a header can claim.
PIXELS_MAX: Final = 40_000_000

# Twilio docs, "Accepted content types for media", the column MMS, with the older names of the same page.
ACCEPTED: Final = FORMATTED | {
    *("image/bmp", "image/heic", "image/heif", "image/tiff"),
    *("audio/3gpp", "audio/3gpp2", "audio/aac", "audio/ac3", "audio/amr", "audio/amr-nb", "audio/basic", "audio/l24"),
    *("audio/mp4", "audio/mpeg", "audio/ogg", "audio/vnd.rn-realaudio", "audio/vnd.wave", "audio/vorbis", "audio/wav"),
    *("audio/webm", "video/3gpp", "video/3gpp2", "video/3gpp-tt", "video/h261", "video/h263", "video/h263-1998"),
    *("video/h263-2000", "video/h264", "video/mp4", "video/mpeg", "video/mpeg4", "video/quicktime", "video/webm"),
    *("text/calendar", "text/csv", "text/directory", "text/richtext", "text/rtf", "text/vcard", "text/x-vcard"),
    *("application/pdf", "application/vcard", "application/vnd.apple.pkpass", "application/msword"),
    *("application/vnd.ms-excel", "application/vnd.ms-powerpoint"),
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}

# Twilio docs, error dictionary.
TOO_LARGE: Final = 11751
WRONG_TYPE: Final = 12300


def bytes_max(channel: str) -> int:
    """Return how many bytes the files of one message may have: its channel is sms, whatsapp, rcs and so on."""
    return MMS_BYTES_MAX if channel == "sms" else CHANNEL_BYTES_MAX


def objection(files: Sequence[Fetched], channel: str) -> FetchFailed | None:
    """Return why files cannot be sent, if they cannot; the carriers of other channels have types of their own."""
    most = bytes_max(channel)
    if sum(len(file.data) for file in files) > most:
        return FetchFailed(TOO_LARGE, f"the files have more than {most} bytes in all")
    for file in files:
        if channel == "sms" and file.content_type not in ACCEPTED:
            return FetchFailed(WRONG_TYPE, f"a message carries no files of the type {file.content_type}")
        if channel == "sms" and file.content_type not in FORMATTED and len(file.data) > OTHER_BYTES_MAX:
            return FetchFailed(TOO_LARGE, f"a file of the type {file.content_type} may have {OTHER_BYTES_MAX} bytes")
        size = measure(file.data)
        if size is not None and size[0] * size[1] > PIXELS_MAX:
            return FetchFailed(TOO_LARGE, f"a picture of {size[0]} by {size[1]} pixels is too large to be decoded")
    return None
