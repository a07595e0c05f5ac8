"""Calling the program that makes pictures smaller.

One program a picture: it costs a tenth of a second to start, is paid by those pictures alone that are too large, and
leaves nothing behind of a file that was made to break its decoder.
"""

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from onterms.ports.media import Picture, PictureRefused

# Not imported: the decoders have no business here.
_PROGRAM: Final = str(Path(__file__).with_name("child.py"))
# As child.py has it.
_REFUSED: Final = 3
# Ours: pictures of 5 MB take one or two seconds.
TIMEOUT_S: Final = 30.0
# Each may take a processor and a gigabyte.
TOGETHER_MAX: Final = 2
INPUT_BYTES_MAX: Final = 16 * 1024 * 1024
_WORDS_MAX: Final = 200


class Studio:
    """Make pictures smaller: `Pictures`."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(TOGETHER_MAX)

    async def shrink(self, data: bytes, *, bytes_max: int, side_max: int, types: Sequence[str]) -> Picture:
        """Return a picture that fits.

        Raises: PictureRefused.
        """
        if len(data) > INPUT_BYTES_MAX:
            raise PictureRefused(f"it has more than {INPUT_BYTES_MAX} bytes")
        async with self._turns:
            # Isolated, so that neither the environment nor the folder says what is imported.
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-B", _PROGRAM, str(bytes_max), str(side_max), *types),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={},
                cwd="/",
            )
            try:
                async with asyncio.timeout(self._timeout_s):
                    out, words = await process.communicate(data)
            except TimeoutError:
                raise PictureRefused("it takes too long") from None
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                    await process.wait()
        if process.returncode == _REFUSED:
            raise PictureRefused(words.decode("utf-8", "replace")[:_WORDS_MAX])
        kind, found, made = out.partition(b"\n")
        if process.returncode != 0 or not found or len(made) > bytes_max:
            # It was stopped by its bounds, or fell.
            raise PictureRefused("it cannot be decoded")
        return Picture(kind.decode("ascii"), made)
