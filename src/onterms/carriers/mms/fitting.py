"""Making a message's files fit what its MMSC takes: pictures are made smaller or turned into known types."""

from collections.abc import Sequence

from onterms.carriers.mms.model import TOO_LARGE, CarrierSettings
from onterms.ports.media import Picture, PictureRefused, Pictures, StoredFile
from onterms.protocols.mm7 import File

# For envelope and presentation.
_OVERHEAD_BYTES = 4096
# RFC 2046 and the handsets' own lists: what a file is called where nobody named it.
_SUFFIXES = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/gif": "gif",
    "video/mp4": "mp4",
    "video/3gpp": "3gp",
    "audio/mpeg": "mp3",
    "audio/amr": "amr",
    "text/vcard": "vcf",
    "text/calendar": "ics",
    "application/pdf": "pdf",
}


class Unfit(Exception):
    """A message cannot be sent as it is."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


async def fit(
    body: str, files: Sequence[StoredFile], settings: CarrierSettings, pictures: Pictures
) -> tuple[File, ...]:
    """Return the parts of an MM: its text first, then its files.

    Raises: Unfit.
    """
    text = body.encode()
    room = settings.bytes_max - len(text) - (_OVERHEAD_BYTES if settings.smil else 0)
    made = await _fitting(files, room, settings, pictures)
    parts = [File("text/plain", text, "text", "text.txt", "utf-8")] if body else []
    for number, picture in enumerate(made, 1):
        suffix = _SUFFIXES.get(picture.content_type, "bin")
        parts.append(File(picture.content_type, picture.data, f"file{number}", f"file{number}.{suffix}"))
    return tuple(parts)


async def _fitting(
    files: Sequence[StoredFile], room: int, settings: CarrierSettings, pictures: Pictures
) -> list[Picture]:
    types = settings.image_types
    is_picture = [file.content_type.startswith("image/") for file in files]
    fixed = sum(len(file.data) for file, is_one in zip(files, is_picture, strict=True) if not is_one)
    left = room - fixed
    if left < 0:
        raise Unfit(TOO_LARGE, f"the MMSC takes {settings.bytes_max} bytes, and only pictures can be made smaller")
    # What has to become another type may grow by that.
    wishes = [
        len(file.data) if file.content_type in types else left
        for file, is_one in zip(files, is_picture, strict=True)
        if is_one
    ]
    shares = _shares(wishes, left)
    made: list[Picture] = []
    for file, is_one in zip(files, is_picture, strict=True):
        share = shares.pop(0) if is_one else 0
        if not is_one or (len(file.data) <= share and file.content_type in types):
            made.append(Picture(file.content_type, file.data))
            continue
        try:
            made.append(await pictures.shrink(file.data, bytes_max=share, side_max=settings.side_max, types=types))
        except PictureRefused as refusal:
            raise Unfit(TOO_LARGE, f"a picture cannot be made to fit: {refusal}") from refusal
    return made


def _shares(sizes: Sequence[int], room: int) -> list[int]:
    """Share out the room: who needs less than an even part leaves the rest to the others."""
    shares = [0] * len(sizes)
    left = room
    order = sorted(range(len(sizes)), key=lambda place: sizes[place])
    for done, place in enumerate(order):
        even = left // (len(order) - done)
        shares[place] = min(sizes[place], even)
        left -= shares[place]
    return shares
