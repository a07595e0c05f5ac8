"""Resource identifiers (SIDs): two letters and 32 hexadecimal digits.

The digits start with the creation time in milliseconds, so that sorting by SID is sorting by creation: lists page by
key without a second index, and inserts go to the right edge of the tree. 64 random bits follow, which nobody can guess.
"""

import os
import re
import secrets
import string
from datetime import datetime

_ALNUM = string.ascii_letters + string.digits
_last_ms = 0
_sequence = 0

# Each question to the kernel costs as much as the rest of a SID, so the random bytes of some hundred are asked for at
# once. They are used up from the end, each once.
_POOL_BYTES = 4096
_pool = bytearray()

SID = re.compile(r"^[A-Z]{2}[0-9a-fA-F]{32}$")


def _random_hex(count: int) -> str:
    if len(_pool) < count:
        _pool[:] = os.urandom(_POOL_BYTES)
    taken = _pool[-count:]
    del _pool[-count:]
    return taken.hex()


# A forked child must not go on with its parent's.
os.register_at_fork(after_in_child=_pool.clear)


def new_sid(prefix: str, at: datetime) -> str:
    """Make a SID that sorts after every SID this process made before it.

    Shapes: prefix of two capitals, 12 digits of milliseconds, 4 of a sequence, 16 random.
    """
    global _last_ms, _sequence
    ms = int(at.timestamp() * 1000)
    # Within one millisecond, or when a clock steps back, the sequence keeps the order.
    if ms > _last_ms:
        _last_ms, _sequence = ms, 0
    else:
        _sequence += 1
        if _sequence > 0xFFFF:
            _last_ms, _sequence = _last_ms + 1, 0
    return f"{prefix}{_last_ms:012x}{_sequence:04x}{_random_hex(8)}"


def new_random_sid(prefix: str) -> str:
    """Make a SID whose order tells nothing, for identifiers that appear in public places."""
    return prefix + _random_hex(16)


def new_token(length: int = 32) -> str:
    """Make a secret of letters and digits only: twilio-go refuses any other character before it sends."""
    return "".join(secrets.choice(_ALNUM) for _ in range(length))
