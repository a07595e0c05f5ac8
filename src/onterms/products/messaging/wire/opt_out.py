"""The outside shapes of opting out, of what is looked at before messages go out, and of numbers out of service."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from onterms.core import e164
from onterms.core.db import Row
from onterms.core.errors import InvalidParameter
from onterms.engines.api.shapes import Country, Shape, Sid, Text
from onterms.products.messaging.model.compliance import Settings

Word = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
Words = Annotated[tuple[Word, ...], msgspec.Meta(max_length=50)]
# An empty reply is none.
Reply = Annotated[str, msgspec.Meta(max_length=480)]
Language = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
_FAMILIES = ("stop", "start", "help")


class InLanguage(Shape):
    """Words of one language, answered in it."""

    language: Language
    stop_words: Words
    start_words: Words
    help_words: Words
    stop_reply: Reply
    start_reply: Reply
    help_reply: Reply


class InCountry(Shape):
    """Words and replies for people of one country, in place of all others."""

    country: Country
    stop_words: Words
    start_words: Words
    help_words: Words
    stop_reply: Reply
    start_reply: Reply
    help_reply: Reply


class NewOptOut(Shape):
    """Words and replies of a sender's own. STOP, START and HELP always do what they say."""

    stop_words: Words
    start_words: Words
    help_words: Words
    stop_reply: Reply
    start_reply: Reply
    help_reply: Reply
    languages: Annotated[tuple[InLanguage, ...], msgspec.Meta(max_length=20)] = ()
    countries: Annotated[tuple[InCountry, ...], msgspec.Meta(max_length=50)] = ()

    def settings(self) -> dict[str, Any]:
        """Return what is kept of it: words as they are compared. Raises: InvalidParameter for what is given twice."""
        for name in ("languages", "countries"):
            keys = [getattr(each, "language", "") or getattr(each, "country", "") for each in getattr(self, name)]
            if len(set(keys)) < len(keys):
                raise InvalidParameter(f"'{name}' has the same one twice")
        return {
            **_kept(self, always=True),
            "languages": [{"language": each.language, **_kept(each)} for each in self.languages],
            "countries": [{"country": each.country, **_kept(each, always=True)} for each in self.countries],
        }


def _kept(given: NewOptOut | InLanguage | InCountry, *, always: bool = False) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for family in _FAMILIES:
        words = {word.strip().upper() for word in getattr(given, f"{family}_words")}
        # A blank one would hear of every empty message.
        kept[f"{family}_words"] = sorted((words | ({family.upper()} if always else set())) - {""})
        kept[f"{family}_reply"] = getattr(given, f"{family}_reply")
    return kept


class OptOut(Shape):
    """How somebody opts out of a service or number; `own` is false where the default words and replies hold."""

    sid: Sid
    own: bool
    stop_words: list[str]
    start_words: list[str]
    help_words: list[str]
    stop_reply: str
    start_reply: str
    help_reply: str
    languages: list[InLanguage]
    countries: list[InCountry]


def opt_out_of(sid: str, own: Mapping[str, Any] | None, defaults: Mapping[str, Any]) -> OptOut:
    """Show how somebody opts out of a service or number."""
    found = own or defaults
    several = {
        "languages": [InLanguage(**each) for each in found.get("languages", ())],
        "countries": [InCountry(**each) for each in found.get("countries", ())],
    }
    return OptOut(sid=sid, own=own is not None, **{**found, **several})


class Wish(Shape):
    """What a peer wants of a sender: a number, a short code or a Messaging Service."""

    sender: str
    peer: str
    opted_out: bool
    keyword: str | None
    source: str | None
    date_of_consent: datetime | None
    changed_at: datetime


class WishQuery(Shape):
    """Whose wishes, from where on."""

    peer: Text = ""
    next: str = ""


def wish_of(row: Row) -> Wish:
    """Show a wish."""
    return Wish.of(row, date_of_consent=row["consented_at"])


class ComplianceToolkit(Shape):
    """What is looked at before messages go out; with `enabled` false nothing is."""

    enabled: bool = True
    quiet_hours: bool = True
    quiet_from: Text = "21:00"
    quiet_to: Text = "08:00"
    action: Literal["reschedule", "refuse"] = "reschedule"
    countries: Annotated[list[Country], msgspec.Meta(max_length=300)] = msgspec.field(default_factory=lambda: ["US"])
    default_zone: Text = "America/New_York"
    exempt_services: Annotated[list[Sid], msgspec.Meta(max_length=100)] = msgspec.field(default_factory=list)
    reassigned_numbers: bool = False
    deactivated_numbers: bool = False

    def settings(self) -> Settings | None:
        """Return what is kept of it. Raises: InvalidParameter."""
        for name in ("quiet_from", "quiet_to"):
            try:
                if time.fromisoformat(getattr(self, name)).tzinfo is not None:
                    raise ValueError
            except ValueError:
                raise InvalidParameter(f"'{name}' must be a time such as 21:00") from None
        if time.fromisoformat(self.quiet_from) == time.fromisoformat(self.quiet_to):
            raise InvalidParameter("'quiet_from' and 'quiet_to' must differ")
        try:
            ZoneInfo(self.default_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise InvalidParameter("'default_zone' must be a zone such as America/New_York") from None
        unknown = set(self.countries) - set(e164.countries())
        if unknown:
            raise InvalidParameter(f"'countries': {min(unknown)} is no country")
        if not self.enabled:
            return None
        return Settings(
            quiet_hours=self.quiet_hours,
            quiet_from=self.quiet_from,
            quiet_to=self.quiet_to,
            action=self.action,
            countries=tuple(self.countries),
            default_zone=self.default_zone,
            exempt_services=tuple(self.exempt_services),
            reassigned_numbers=self.reassigned_numbers,
            deactivated_numbers=self.deactivated_numbers,
        )


def toolkit_of(settings: Settings | None) -> ComplianceToolkit:
    """Show what is looked at."""
    if settings is None:
        return ComplianceToolkit(enabled=False)
    kept = msgspec.structs.asdict(settings)
    several: dict[str, Sequence[str]] = {name: list(kept[name]) for name in ("countries", "exempt_services")}
    return ComplianceToolkit(**{**kept, **several})


class NewDeactivations(Shape):
    """Numbers that carriers took out of service on a day."""

    date: date
    numbers: Annotated[list[str], msgspec.Meta(min_length=1, max_length=500_000)]


class Deactivations(Shape):
    """How many of them were not known."""

    date: date
    added: int
