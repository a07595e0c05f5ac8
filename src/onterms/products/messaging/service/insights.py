"""Insights: how an account's messages fared, by status, code, country, carrier, sender and hour.

Theory of operation. Nothing is counted while messages are on their way, which would cost each of them. An account's
messages are summed up by spans of time before each reading, and, once it has been read, every quarter of an
hour in which anybody sends. Spans before the mark are summed up; those of them with messages that may still change are
summed up anew, as is everything after the mark. SIDs grow with time, so no message appears before the mark later.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, cast

from onterms.core import e164
from onterms.core.db import Row, Tx
from onterms.products.messaging.model.insights import BY_SENDER, FINE, SETTLED_AFTER, Level, percentile
from onterms.products.messaging.store import insights as store

# Ours: who reads again within this time reads the same.
FRESH: Final = timedelta(seconds=5)
STALE: Final = timedelta(minutes=10)
# Ours: most receipts come within this time; later ones are seen within `STALE`.
MENDED_AT_ONCE: Final = timedelta(minutes=30)
ACCOUNTS_MAX: Final = 200
_COUNTS: Final = ("messages", "segments", "delivered", "undelivered", "failed")
_LEVELS: Final[Mapping[str, Level]] = {level.table: level for level in (FINE, BY_SENDER)}
GROUPS_MAX: Final = 1000
_BEGINNING: Final = datetime(2000, 1, 1, tzinfo=UTC)


class Insight(NamedTuple):
    """What was found: the whole, its groups, and latencies to delivered in seconds by percentile."""

    total: Mapping[str, int]
    groups: Sequence[Row]
    latency: Mapping[str, float | None]
    as_of: datetime


async def sum_up(tx: Tx, account_sid: str, level: Level, at: datetime) -> datetime:
    """Bring an account's sums up to an instant; return as of when they are."""
    mark = await store.lock_mark(tx, account_sid, level, _BEGINNING)
    looked_at, mended_at, until = mark["looked_at"], mark["mended_at"], mark["summed_until"]
    if looked_at <= at < looked_at + FRESH:
        return cast("datetime", looked_at)
    # A sandbox's clock may have been set back.
    until = min(until, level.span_of(at))
    is_mending = not mended_at <= at < mended_at + STALE
    since = at - (SETTLED_AFTER if is_mending else MENDED_AT_ONCE)
    spans = [span for span in await store.open_spans(tx, account_sid, level, since) if span < until]
    sums: list[store.Sum] = []
    for start, end in _stretches(spans, level.span):
        sums += _sums(await store.sum_up(tx, account_sid, level, start, end))
    late = _sums(await store.sum_up(tx, account_sid, level, until, at + level.span))
    # The span that runs is summed up too, and anew the next time.
    stale = {*spans, *(each.span for each in late), level.span_of(at), until}
    await store.replace(tx, account_sid, level, sorted(stale), [*sums, *late])
    await store.set_mark(tx, account_sid, level, level.span_of(at), at, at if is_mending else mended_at)
    return at


def _stretches(spans: Sequence[datetime], length: timedelta) -> list[tuple[datetime, datetime]]:
    """Join spans that follow one another, so that a busy day is one question."""
    found: list[tuple[datetime, datetime]] = []
    for span in sorted(spans):
        if found and found[-1][1] == span:
            found[-1] = found[-1][0], span + length
        else:
            found.append((span, span + length))
    return found


def _sums(rows: Sequence[Row]) -> list[store.Sum]:
    counts: dict[tuple[Any, ...], list[int]] = {}
    steps: dict[tuple[Any, ...], Counter[str]] = {}
    for row in rows:
        country = e164.country_of(row["peer"]) or ""
        key = (
            *(row[name] for name in ("span", "direction", "status", "error_code")),
            country,
            *(row["carrier"], row["service_sid"], row["own"]),
        )
        count = counts.setdefault(key, [0, 0])
        count[0] += row["messages"]
        count[1] += row["segments"]
        if row["step"] is not None:
            steps.setdefault(key, Counter())[str(row["step"])] += row["messages"]
    found = []
    for key, (messages, segments) in counts.items():
        found.append(store.Sum._make((*key, messages, segments, dict(steps.get(key, {})))))
    return found


async def sum_up_read(tx: Tx, at: datetime) -> None:
    """Bring the sums up to date that were read before, so that the next reading has little to do."""
    for account_sid, table in await store.marked(tx, at - STALE, ACCOUNTS_MAX):
        await sum_up(tx, account_sid, _LEVELS[table], at)


async def read(
    tx: Tx,
    account_sid: str,
    start: datetime,
    end: datetime,
    filters: Mapping[str, Any],
    by: Sequence[str],
    at: datetime,
) -> Insight:
    """Tell how messages made in [start, end) fared; the bounds are taken to the spans of the sums."""
    level = BY_SENDER if "sender" in by or "sender" in filters else FINE
    as_of = await sum_up(tx, account_sid, level, at)
    asked = (account_sid, level, level.span_of(start), level.span_of(end - timedelta(microseconds=1)) + level.span)
    groups = await store.read(tx, *asked, filters, by, GROUPS_MAX) if by else []
    total: Mapping[str, int]
    if 0 < len(groups) < GROUPS_MAX:
        # All groups are here, so what they amount to needs no second look.
        total = {name: sum(row[name] for row in groups) for name in _COUNTS}
    else:
        [total] = await store.read(tx, *asked, filters, (), 1)
    steps = await store.latencies(tx, *asked, filters)
    latency = {name: percentile(steps, part) for name, part in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))}
    return Insight(total, groups, latency, as_of)
