"""Choosing the sender of a Messaging Service's message.

Theory of operation. Every sender of the pool gets a rank for one recipient, or none where it cannot serve: first come
short codes of the country, then alpha senders where it takes them, then numbers: of the recipient's country, of the US,
any other. Only senders of the best rank are looked at further: the one that wrote to this recipient before, else those
of the recipient's area code, else all of them; among several the one whose queue is shortest, and of these the one that
sent least.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

SenderKind = Literal["phone_number", "short_code", "alpha_sender", "destination_alpha_sender", "channel_sender"]
# Senders that an account holds, and may give back.
HELD: Final = frozenset({"phone_number", "short_code"})

# Twilio docs, Messaging Services: area codes are matched in these countries only.
GEOMATCHED = frozenset({"US", "CA"})
# Twilio support 4411046744987: toll-free numbers reach these.
TOLLFREE_REACHES = frozenset({"US", "CA"})
# Ours, after operators' public guidelines: networks there do not deliver alphanumeric senders.
ALPHA_REFUSED = frozenset(
    {
        *("AR", "BE", "BR", "CA", "CL", "CN", "CO", "CR", "DO", "EC", "GT", "HU", "IR", "KG", "KR", "MX", "MY", "NI"),
        *("NR", "NZ", "PA", "PR", "SY", "TW", "US", "UY", "VE", "ZA"),
    }
)


@dataclass(frozen=True, slots=True)
class PoolSender:
    """One sender of a pool, with what is known of it today."""

    sid: str
    sender: str
    kind: SenderKind
    country: str
    used: int
    is_tollfree: bool = False
    can_sms: bool = True
    can_mms: bool = False
    # Of a short code: where else than in its country it is known.
    reaches: frozenset[str] = frozenset()
    # How long its queue lasts, where it has a rate.
    waits_s: float = 0.0


def rank(sender: PoolSender, country: str, *, has_media: bool) -> int | None:
    """Return how well a sender serves a recipient's country, least is best, or None where it does not."""
    if not sender.can_sms or (has_media and not sender.can_mms):
        return None
    if sender.kind == "short_code":
        # Twilio docs, Messaging Services: the short code of the region comes before alpha senders and long codes.
        return 0 if country in sender.reaches else None
    if sender.kind == "channel_sender":
        # Twilio docs, Messaging Services: channels run over the internet, so no country is nearer.
        return 0
    if sender.kind != "phone_number":
        if country in ALPHA_REFUSED:
            return None
        if sender.kind == "destination_alpha_sender" and sender.country:
            return 1 if sender.country == country else None
        return 2
    if sender.is_tollfree:
        if country not in TOLLFREE_REACHES:
            return None
        # Twilio docs, Messaging Services: in Canada toll-free numbers come before long codes.
        return 3 if country == "CA" else 4
    if sender.country == country:
        return 4
    return 5 if sender.country == "US" else 6


def fitting(
    senders: Sequence[PoolSender], country: str, *, has_media: bool, falls_back_to_long_code: bool
) -> list[PoolSender]:
    """Return the senders of the best rank; none where nobody in the pool can serve the recipient."""
    ranked = [
        (found, sender) for sender in senders if (found := rank(sender, country, has_media=has_media)) is not None
    ]
    if not falls_back_to_long_code and any(sender.kind != "phone_number" for sender in senders):
        # Who keeps alpha senders and wants no fallback would rather not be heard than be heard as a number.
        ranked = [(found, sender) for found, sender in ranked if sender.kind != "phone_number"]
    best = min((found for found, _ in ranked), default=None)
    return [sender for found, sender in ranked if found == best]


def choose(
    candidates: Sequence[PoolSender], recipient: str, country: str, *, sticky: str | None, matches_area_code: bool
) -> PoolSender:
    """Return the sender for a recipient out of those of one rank."""
    for sender in candidates:
        if sender.sender == sticky:
            return sender
    group = list(candidates)
    if matches_area_code and country in GEOMATCHED:
        # +1 and the three digits of the area code.
        near = [sender for sender in group if sender.sender[:5] == recipient[:5]]
        group = near or group
    return min(group, key=lambda sender: (sender.waits_s, sender.used, sender.sid))
