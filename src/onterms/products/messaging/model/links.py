"""A short link."""

from dataclasses import dataclass
from datetime import timedelta

# Twilio docs, Link Shortening: kept for 90 days.
LINK_LIFE = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class ShortLink:
    """One link that was shortened."""

    code: str
    short_link: str
    link: str
    reports: bool = True
