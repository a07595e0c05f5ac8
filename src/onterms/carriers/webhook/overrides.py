"""Connection overrides that a customer writes into the fragment of a webhook's URL.

Source: Twilio docs, usage/webhooks/webhooks-connection-overrides: names, bounds, defaults; error pages 11240 and 11243.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

CONNECT_MS: Final = (100, 10_000)
READ_MS: Final = (100, 15_000)
TOTAL_MS: Final = (100, 15_000)
RETRIES: Final = (0, 5)

# What a retry policy may name: connecting failed, reading timed out, the answer was a 4xx, a 5xx.
FAILURE_KINDS: Final = frozenset({"ct", "rt", "4xx", "5xx"})

_EDGE = re.compile(r"[a-z]+(?:-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Overrides:
    """How to connect, wait and retry for one call.

    Shapes: `retry_on` is a set of FAILURE_KINDS; `warnings` pairs a debugger code with words, for values that were
    ignored.
    """

    connect_s: float = 5.0
    read_s: float = 15.0
    total_s: float = 15.0
    retries: int = 1
    retry_on: frozenset[str] = frozenset({"ct"})
    # Accepted and without effect: a certificate is only checked for a name that was sent, so the name is always sent.
    sni: bool | None = None
    # Accepted and without effect: an installation has no edges to leave from.
    edges: tuple[str, ...] = ()
    warnings: tuple[tuple[int, str], ...] = ()


DEFAULTS: Final = Overrides()


def parse_overrides(fragment: str) -> Overrides:
    """Read the overrides of a fragment; a value that is unknown or out of bounds is ignored and its default holds."""
    if not fragment:
        return DEFAULTS
    given = dict(parse_qsl(fragment, keep_blank_values=True))
    warnings: list[tuple[int, str]] = []

    retry_on = DEFAULTS.retry_on
    if "rp" in given:
        named = frozenset(part.strip().lower() for part in given["rp"].split(","))
        if named <= FAILURE_KINDS | {"all"}:
            retry_on = FAILURE_KINDS if "all" in named else named
        else:
            warnings.append((11243, "the retry policy 'rp' names a failure that does not exist; 'ct' was used"))

    edges: tuple[str, ...] = ()
    if "e" in given:
        edges = tuple(part.strip().lower() for part in given["e"].split(","))
        if not all(_EDGE.fullmatch(edge) for edge in edges):
            edges = ()
            warnings.append((11240, "the edge location 'e' is malformed; it was ignored"))

    return Overrides(
        connect_s=_bounded(given.get("ct"), CONNECT_MS, 5_000) / 1000,
        read_s=_bounded(given.get("rt"), READ_MS, 15_000) / 1000,
        total_s=_bounded(given.get("tt"), TOTAL_MS, 15_000) / 1000,
        retries=_bounded(given.get("rc"), RETRIES, 1),
        retry_on=retry_on,
        sni={"y": True, "n": False}.get(given.get("sni", "").lower()),
        edges=edges,
        warnings=tuple(warnings),
    )


def _bounded(text: str | None, bounds: tuple[int, int], default: int) -> int:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 6:
        return default
    value = int(text)
    return value if bounds[0] <= value <= bounds[1] else default
