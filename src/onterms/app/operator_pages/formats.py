"""Amounts, days and words as people write them, and the small Markdown of our texts."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

from markupsafe import Markup, escape

from onterms.core.money import decimal_text, micros, minor_digits

_TONES: Final = {
    **dict.fromkeys(
        ("good", "active", "paid", "succeeded", "accepted", "given", "in_force", "lifted", "clear", "on", "approved"),
        "good",
    ),
    **dict.fromkeys(
        ("sent", "finalised", "scheduled", "published", "proposed", "review", "filed", "effective", "signed",
         "noticed"),
        "info",
    ),
    **dict.fromkeys(
        (
            "open", "past_due", "cure", "partially_paid", "awaiting_customer", "pending", "restricted", "requested",
            "processing", "queued", "created", "needs_action", "late", "draft", "reminded", "disputed", "insufficient",
        ),
        "wait",
    ),
    **dict.fromkeys(
        ("suspended", "breached", "bounced", "failed", "declined", "void", "written_off", "blocked", "ended",
         "bad_faith", "uncooperative", "confirmed", "refused", "missed", "closed"),
        "bad",
    ),
}  # fmt: skip
_HEADING: Final = re.compile(r"^(#{1,6})\s+(.*)$")


def tone(state: str) -> str:
    """Return the colour of a state's badge."""
    return _TONES.get(state, "mute")


def words(name: str) -> str:
    """Write a name of programs as words."""
    return name.replace("_", " ")


def number(text: str) -> str:
    """Put commas between the thousands of decimal text."""
    sign, rest = ("\u2212", text[1:]) if text.startswith("-") else ("", text)
    whole, point, part = rest.partition(".")
    return f"{sign}{int(whole):,}{point}{part}"


def money(amount: int | str | None, currency: str) -> str:
    """Write micro-units, or decimal text, with the currency's own decimals, or more where the amount has more."""
    if amount is None:
        return "\u2013"
    if isinstance(amount, str):
        amount = micros(amount)
    digits = minor_digits(currency)
    if amount % (10 ** (6 - digits)) == 0:
        return f"{number(decimal_text(amount, places=digits))}\u00a0{currency}"
    whole, _, part = decimal_text(amount).partition(".")
    return f"{number(whole)}.{part.rstrip('0').ljust(digits, '0')}\u00a0{currency}"


def counted(amount: int | None, one: str, many: str | None = None) -> str:
    """Write how many there are of something."""
    return f"{amount or 0:,} {one if amount == 1 else many or one + 's'}"


def instant_of(value: Any) -> datetime:
    """Read an instant that an answer of the API or a row holds."""
    return (value if isinstance(value, datetime) else datetime.fromisoformat(value)).astimezone(UTC)


def day_text(value: Any) -> Markup:
    """Write a day: 23 Nov 2026."""
    if value is None:
        return Markup("\u2013")
    found = value.date() if isinstance(value, datetime) else value if isinstance(value, date) else None
    if found is None:
        found = date.fromisoformat(str(value)[:10])
    return Markup('<time datetime="{}">{}</time>').format(found.isoformat(), _day(found))


def time_text(value: Any) -> Markup:
    """Write an instant in UTC: 23 Nov 2026, 19:30."""
    if value is None:
        return Markup("\u2013")
    at = instant_of(value)
    return Markup('<time datetime="{}" title="{} UTC">{}, {}</time>').format(
        at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        at.strftime("%Y-%m-%d %H:%M:%S"),
        _day(at.date()),
        at.strftime("%H:%M"),
    )


def until_text(value: Any, at: datetime) -> str:
    """Write how far away an instant is."""
    seconds = (instant_of(value) - at).total_seconds()
    if seconds <= 0:
        return "now"
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"in {count:,} {unit}{'' if count == 1 else 's'}"
    return "in a moment"


def _day(found: date) -> str:
    # strftime's %-d is not everywhere.
    return f"{found.day} {found.strftime('%b %Y')}"


def short(sid: str) -> str:
    """Shorten a SID to what tells two of them apart: they begin with their time."""
    return f"{sid[:2]}\u2026{sid[-6:]}" if len(sid) > 12 else sid


def facts(value: Any) -> Sequence[tuple[str, str]]:
    """Flatten an object of JSON to names and words."""
    if not isinstance(value, dict):
        return []
    return [(words(str(name)), _plain(each)) for name, each in value.items() if each not in (None, "", [], {})]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{words(str(name))}: {_plain(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return str(value)


def prose(text: str, level: int = 3) -> Markup:
    """Render the Markdown of our texts (headings, paragraphs, lists, bold, emphasis, strikes); the rest stays text.

    Shapes: `level` is what the highest heading becomes, so that headings stay in order on the page around it.
    """
    blocks: list[Markup] = []
    highest = min((len(match[1]) for match in map(_HEADING.match, text.splitlines()) if match), default=1)
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.strip().splitlines()
        while lines and (heading := _HEADING.match(lines[0])):
            rank = min(6, level + len(heading[1]) - highest)
            blocks.append(Markup("<h{0}>{1}</h{0}>").format(rank, _inline(heading[2])))
            lines = lines[1:]
        if not lines:
            continue
        if all(line.startswith("- ") for line in lines):
            items = Markup("").join(Markup("<li>{}</li>").format(_inline(line[2:])) for line in lines)
            blocks.append(Markup("<ul>{}</ul>").format(items))
        else:
            blocks.append(Markup("<p>{}</p>").format(_inline(" ".join(lines))))
    return Markup("\n").join(blocks)


def _inline(text: str) -> Markup:
    safe = str(escape(text))
    safe = re.sub(r"~~(.+?)~~", r"<del>\1</del>", safe)
    safe = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", safe)
    # What was put in between is ours, the rest is escaped.
    return Markup(re.sub(r"(?<!\*)\*([^*]+)\*(?!\*)", r"<em>\1</em>", safe))


FILTERS: Final = {
    "money": money,
    "tone": tone,
    "words": words,
    "day": day_text,
    "time": time_text,
    "until": until_text,
    "short": short,
    "facts": facts,
    "prose": prose,
    "counted": counted,
}

__all__ = ["FILTERS", "instant_of", "money", "prose", "short", "tone", "words"]
