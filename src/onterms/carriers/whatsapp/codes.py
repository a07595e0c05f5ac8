"""What the Cloud API's errors mean to a customer, and which of them are worth another try.

Source: Meta docs, "Cloud API error codes"; Twilio docs, error dictionary, by meaning. Twilio's own table of 2020 maps
the codes of the API that went before: 470 to 63016, 471 to 63018, 472 to 63032, 1026 to 63024, 2000 to 63028, 2001 to
63027.
"""

from typing import Final

# The message was not taken, and may be later.
TRY_LATER: Final = frozenset(
    {
        4,  # too many calls of the app
        80007,  # rate limit of the business account
        130429,  # throughput of the number
        131056,  # too much between this pair of numbers
        133016,  # registering too often
        2,  # the API is away
        131016,  # the service is overloaded
        131057,  # the account is in maintenance
        133004,  # the server is away
    }
)

UNKNOWN: Final = 63012
OUTSIDE_WINDOW: Final = 63016
NOT_SHOWN: Final = 63005
INVALID_CONTENT: Final = 63021
UNSUPPORTED: Final = 63030
MEDIA_TOO_LARGE: Final = 63034
PARAMETERS_DIFFER: Final = 63028

_CODES: Final[dict[int, int]] = {
    0: 63001,
    3: 63001,
    10: 63001,
    190: 63001,
    131005: 63001,
    4: 63018,
    80007: 63018,
    130429: 63018,
    131048: 63018,
    131056: 63018,
    368: 63013,
    130497: 63013,
    131031: 63051,
    33: 63011,
    100: 63011,
    131008: 63011,
    131009: 63011,
    130472: 63032,
    131021: 63031,
    131026: 63024,
    131030: 63015,
    131037: 63022,
    131042: 63020,
    131045: 63022,
    131047: OUTSIDE_WINDOW,
    131049: 63049,
    131050: 63033,
    131051: NOT_SHOWN,
    131052: 63019,
    131053: INVALID_CONTENT,
    132000: PARAMETERS_DIFFER,
    132001: 63027,
    132005: INVALID_CONTENT,
    132007: 63013,
    132012: INVALID_CONTENT,
    132015: 63041,
    132016: 63042,
    132068: NOT_SHOWN,
    132069: 63018,
    133010: 63111,
    134011: 63020,
}


def code_of(error: int) -> int:
    """Return the code that a customer sees for an error of the Cloud API."""
    if 200 <= error <= 219:
        # Permissions.
        return 63001
    return _CODES.get(error, UNKNOWN)
