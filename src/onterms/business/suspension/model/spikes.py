"""The spike detector (2.3(b)): unusual volume is one leg, fraud or pressure on the platform the other.

Volume alone is never a case: a customer's good day looks the same. Integers only, so that a judgement can be repeated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Judgement = Literal["learning", "usual", "alert", "case"]


@dataclass(frozen=True, slots=True)
class SpikePolicy:
    """From where on volume is unusual, and how many signs make fraud."""

    mads: int = 6
    times_median: int = 5
    floor_units: int = 1000
    history_min: int = 8
    fraud_signs_min: int = 2
    delivered_permille_min: int = 300
    failed_permille_max: int = 500
    queue_delay_s_max: int = 30
    throughput_share_permille_max: int = 400


@dataclass(frozen=True, slots=True)
class Signals:
    """What else is known of a window.

    Units: ratios in thousandths; None where nothing was measured.
    """

    delivered_permille: int | None = None
    failed_permille: int | None = None
    sequential_numbers: bool = False
    premium_prefix: bool = False
    new_credential: bool = False
    queue_delay_s: int = 0
    throughput_share_permille: int = 0


def median(values: Sequence[int]) -> int:
    """Return the median, rounded down."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) // 2


def baseline(history: Sequence[int]) -> tuple[int, int]:
    """Return the median and the median absolute deviation of earlier windows of the same hour of the week."""
    usual = median(history)
    return usual, median([abs(value - usual) for value in history])


def is_unusual(units: int, usual: int, mad: int, policy: SpikePolicy) -> bool:
    """Tell whether a window passes all three bounds."""
    return units > usual + policy.mads * mad and units > policy.times_median * usual and units > policy.floor_units


def fraud_signs(signals: Signals, policy: SpikePolicy) -> list[str]:
    """Name the signs of fraud in a window."""
    found = {
        "low_delivery": signals.delivered_permille is not None
        and signals.delivered_permille < policy.delivered_permille_min,
        "high_failure": signals.failed_permille is not None and signals.failed_permille > policy.failed_permille_max,
        "sequential_numbers": signals.sequential_numbers,
        "premium_prefix": signals.premium_prefix,
        "new_credential": signals.new_credential,
    }
    return [name for name, present in found.items() if present]


def under_pressure(signals: Signals, policy: SpikePolicy) -> bool:
    """Tell whether the window hurts the platform."""
    return (
        signals.queue_delay_s > policy.queue_delay_s_max
        or signals.throughput_share_permille > policy.throughput_share_permille_max
    )


def judge(units: int, usual: int, mad: int, signals: Signals, policy: SpikePolicy) -> Judgement:
    """Judge a window: `case` needs both legs, `alert` is the first alone."""
    if not is_unusual(units, usual, mad, policy):
        return "usual"
    is_fraud = len(fraud_signs(signals, policy)) >= policy.fraud_signs_min
    return "case" if is_fraud or under_pressure(signals, policy) else "alert"
