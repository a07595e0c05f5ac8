"""What campaigns may be for, and what the texts of one must look like.

Source: Twilio docs, UsAppToPersonUsecase resource: codes and which of them carriers approve by hand afterwards; the
descriptions are ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Usecase:
    """A use case."""

    code: str
    name: str
    description: str
    is_approved_afterwards: bool = False


USECASES: Mapping[str, Usecase] = {
    each.code: each
    for each in (
        Usecase("2FA", "Two-Factor authentication (2FA)", "One-time codes, and resets of passwords"),
        Usecase("ACCOUNT_NOTIFICATION", "Account Notification", "Reminders and alerts about an account or a booking"),
        Usecase("AGENTS_FRANCHISES", "Agents and Franchises", "Many agents or offices with a number each", True),
        Usecase("CHARITY", "Charity", "Charities of section 501(c)(3), without religious organisations"),
        Usecase(
            "CONVERSATIONAL", "Conversational Messaging", "People write to each other through numbers of a pool", True
        ),
        Usecase("CUSTOMER_CARE", "Customer Care", "Support, and whatever else care for customers is"),
        Usecase("DELIVERY_NOTIFICATION", "Delivery Notification", "How a delivery is coming along"),
        Usecase("EMERGENCY", "Emergency", "Public safety in disasters and other emergencies", True),
        Usecase("FRAUD_ALERT", "Fraud Alert Messaging", "Alerts about suspected fraud"),
        Usecase("HIGHER_EDUCATION", "Higher Education", "Colleges, universities and school districts"),
        Usecase("LOW_VOLUME", "Low Volume Mixed", "Several uses with little traffic, such as tests"),
        Usecase("MARKETING", "Marketing", "Offers and promotions"),
        Usecase("MIXED", "Mixed", "Several uses of one brand"),
        Usecase("POLITICAL", "Political", "Attempts to influence decisions of people; verified"),
        Usecase("POLLING_VOTING", "Polling and voting", "Polls and votes"),
        Usecase("PUBLIC_SERVICE_ANNOUNCEMENT", "Public Service Announcement", "What the public should know of"),
        Usecase("SECURITY_ALERT", "Security Alert", "A system was broken into, and what to do now"),
        Usecase("SOCIAL", "Social", "Communication within closed communities", True),
        Usecase("SOLE_PROPRIETOR", "Sole Proprietor", "Whatever one person in business has to say"),
        Usecase("SWEEPSTAKE", "Sweepstake", "Sweepstakes", True),
    )
}
SOLE_PROPRIETOR: Final = "SOLE_PROPRIETOR"

# Twilio docs, UsAppToPerson resource: lengths.
DESCRIPTION_CHARS: Final = (40, 4096)
FLOW_CHARS: Final = (40, 2048)
SAMPLE_CHARS: Final = (20, 1024)
SAMPLES: Final = (2, 5)
# The same resource: at most 255 letters of keywords, 20 to 320 of a reply.
KEYWORDS_CHARS_MAX: Final = 255
REPLY_CHARS: Final = (20, 320)

OPT_IN_KEYWORDS: Final = ("START",)
OPT_OUT_KEYWORDS: Final = ("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT")
HELP_KEYWORDS: Final = ("HELP", "INFO")


def usecases_of(brand_type: str | None) -> list[Usecase]:
    """Return the use cases that a brand may register; without a brand all but the sole proprietors'."""
    if brand_type == SOLE_PROPRIETOR:
        return [USECASES[SOLE_PROPRIETOR]]
    return [each for each in USECASES.values() if each.code != SOLE_PROPRIETOR]


def faults(details: Mapping[str, Any], usecase: str) -> list[str]:
    """Return what is wrong with the lengths of a campaign's texts."""
    found: list[str] = []
    samples: Sequence[str] = details["message_samples"]
    # A sole proprietor may give a single sample.
    least = 1 if usecase == SOLE_PROPRIETOR else SAMPLES[0]
    if not least <= len(samples) <= SAMPLES[1]:
        found.append(f"MessageSamples must be {least} to {SAMPLES[1]}")
    for name, value, (shortest, longest) in (
        ("Description", details["description"], DESCRIPTION_CHARS),
        ("MessageFlow", details["message_flow"], FLOW_CHARS),
        *(("MessageSamples", sample, SAMPLE_CHARS) for sample in samples),
        *(
            (name, details[column], REPLY_CHARS)
            for name, column in (
                ("OptInMessage", "opt_in_message"),
                ("OptOutMessage", "opt_out_message"),
                ("HelpMessage", "help_message"),
            )
            if details.get(column)
        ),
    ):
        if not shortest <= len(value) <= longest:
            found.append(f"{name} must have {shortest} to {longest} characters, and has {len(value)}")
    for name in ("opt_in_keywords", "opt_out_keywords", "help_keywords"):
        if sum(map(len, details.get(name) or ())) > KEYWORDS_CHARS_MAX:
            found.append(f"{name} must have at most {KEYWORDS_CHARS_MAX} characters")
    return list(dict.fromkeys(found))
