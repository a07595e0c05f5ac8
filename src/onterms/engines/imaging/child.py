"""The program that makes one picture smaller: it reads it from its input and writes type, line break, bytes.

It runs by itself, with nothing of ours imported: what it decodes is a stranger's, and a decoder that is fooled shall
find neither secrets nor connections here. Its arguments are bytes_max, side_max and the types that may come out.
"""

import contextlib
import io
import resource
import sys

from PIL import Image, ImageOps, ImageSequence

# Ours: 40 million pixels in four channels, twice, with room for the interpreter.
MEMORY_BYTES_MAX = 1024 * 1024 * 1024
CPU_S_MAX = 20
# Ours: more than cameras of phones make in one file of 5 MB, and 160 MB when decoded.
PIXELS_MAX = 40_000_000
FRAMES_MAX = 200
QUALITIES = (85, 70, 55)
SHRINKING = 0.75
SIDE_MIN = 16

REFUSED = 3
_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/gif": "GIF"}


class Refused(Exception):
    """It cannot be done."""


def main() -> int:
    """Do it."""
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES_MAX),
        (resource.RLIMIT_CPU, CPU_S_MAX),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        # macOS knows some of them and keeps none; pixels and time are bounded without them as well.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (value, value))
    bytes_max, side_max, *types = sys.argv[1:]
    Image.MAX_IMAGE_PIXELS = None
    try:
        kind, data = shrink(sys.stdin.buffer.read(), int(bytes_max), int(side_max), types)
    except Refused as refusal:
        sys.stderr.write(str(refusal))
        return REFUSED
    except MemoryError:
        sys.stderr.write("it takes too much memory")
        return REFUSED
    except (OSError, SyntaxError, ValueError, TypeError, ArithmeticError, LookupError, EOFError):
        # What Pillow raises for files that are broken, each decoder in its own way.
        sys.stderr.write("it cannot be decoded")
        return REFUSED
    sys.stdout.buffer.write(kind.encode() + b"\n" + data)
    return 0


def shrink(data: bytes, bytes_max: int, side_max: int, types: list[str]) -> tuple[str, bytes]:
    """Return type and bytes of a picture that fits."""
    image: Image.Image = Image.open(io.BytesIO(data))
    # Known from its header, before anything is decoded.
    if image.width * image.height > PIXELS_MAX:
        raise Refused(f"it has more than {PIXELS_MAX} pixels")
    if image.format == "JPEG":
        # The decoder gives half the size, a quarter or an eighth for less work, never less than asked for.
        image.draft("RGB", (side_max, side_max))
    if getattr(image, "is_animated", False) and "image/gif" in types:
        moving = _animation(image, bytes_max, side_max)
        if moving is not None:
            return "image/gif", moving
        image.seek(0)
    image = ImageOps.exif_transpose(image)
    if _is_transparent(image) and "image/png" in types:
        still = _still(image.convert("RGBA"), "PNG", bytes_max, side_max, steps=6)
        if still is not None:
            return "image/png", still
    kind = "image/jpeg" if "image/jpeg" in types else types[0]
    found = _still(_flat(image), _FORMATS[kind], bytes_max, side_max, steps=30)
    if found is None:
        raise Refused("it cannot be made small enough")
    return kind, found


def _is_transparent(image: Image.Image) -> bool:
    if image.mode in ("RGBA", "LA", "PA"):
        return image.getchannel("A").point(lambda alpha: 255 - alpha).getbbox() is not None
    return "transparency" in image.info


def _flat(image: Image.Image) -> Image.Image:
    """Put a picture on white."""
    if not _is_transparent(image):
        return image.convert("RGB")
    clear = image.convert("RGBA")
    ground = Image.new("RGB", clear.size, "white")
    ground.paste(clear, mask=clear.getchannel("A"))
    return ground


def _still(image: Image.Image, form: str, bytes_max: int, side_max: int, steps: int) -> bytes | None:
    side = min(side_max, max(image.size))
    for _ in range(steps):
        smaller = image.copy()
        smaller.thumbnail((side, side))
        for quality in QUALITIES if form == "JPEG" else QUALITIES[:1]:
            out = io.BytesIO()
            smaller.save(out, form, quality=quality, optimize=True)
            if out.tell() <= bytes_max:
                return out.getvalue()
        side = int(side * SHRINKING)
        if side < SIDE_MIN:
            return None
    return None


def _animation(image: Image.Image, bytes_max: int, side_max: int) -> bytes | None:
    """Return a moving picture that fits, or None where its first frame has to do."""
    count = getattr(image, "n_frames", 1)
    side = min(side_max, max(image.size))
    if count > FRAMES_MAX or count * image.width * image.height > 4 * PIXELS_MAX:
        return None
    for _ in range(8):
        if side < SIDE_MIN:
            return None
        frames: list[Image.Image] = []
        durations: list[int] = []
        for frame in ImageSequence.Iterator(image):
            durations.append(int(frame.info.get("duration", 100)))
            copy = frame.convert("RGBA")
            copy.thumbnail((side, side))
            frames.append(copy)
        out = io.BytesIO()
        frames[0].save(
            out,
            "GIF",
            save_all=True,
            append_images=frames[1:],
            duration=durations,
            loop=image.info.get("loop", 0),
            disposal=2,
            optimize=True,
        )
        if out.tell() <= bytes_max:
            return out.getvalue()
        side = int(side * SHRINKING)
    return None


if __name__ == "__main__":
    sys.exit(main())
