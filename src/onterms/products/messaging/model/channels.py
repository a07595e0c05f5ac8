"""Addresses and senders of channels: pure.

Theory of operation. A sender is CREATING until the network was asked; then it waits for the code that proves whose the
number is (PENDING_VERIFICATION), or for people who look at it (TWILIO_REVIEW), or is ONLINE, or OFFLINE with reasons. A
code makes it VERIFYING, a change of an online one ONLINE:UPDATING, which sends and receives all the while.
"""

from collections.abc import Mapping
from typing import Final

from onterms.core import e164
from onterms.ports.channels import SenderStatus, Step

ONLINE: Final = ("ONLINE", "ONLINE:UPDATING")

# (status, what the customer asks for) -> (status at once, step at the network).
ASKED: Mapping[tuple[str, str], tuple[SenderStatus, Step]] = {
    ("PENDING_VERIFICATION", "verify"): ("VERIFYING", "verify"),
    ("PENDING_VERIFICATION", "update"): ("CREATING", "enrol"),
    ("CREATING", "update"): ("CREATING", "enrol"),
    ("DRAFT", "update"): ("CREATING", "enrol"),
    ("OFFLINE", "update"): ("CREATING", "enrol"),
    ("OFFLINE", "verify"): ("VERIFYING", "verify"),
    ("TWILIO_REVIEW", "update"): ("TWILIO_REVIEW", "update"),
    ("ONLINE", "update"): ("ONLINE:UPDATING", "update"),
    ("ONLINE:UPDATING", "update"): ("ONLINE:UPDATING", "update"),
}

# What a network may make of a sender.
ANSWERED: Mapping[str, frozenset[str]] = {
    "CREATING": frozenset({"PENDING_VERIFICATION", "TWILIO_REVIEW", "ONLINE", "OFFLINE"}),
    "PENDING_VERIFICATION": frozenset({"ONLINE", "OFFLINE"}),
    "VERIFYING": frozenset({"ONLINE", "PENDING_VERIFICATION", "OFFLINE"}),
    "TWILIO_REVIEW": frozenset({"TWILIO_REVIEW", "ONLINE", "OFFLINE"}),
    "ONLINE": frozenset({"ONLINE", "OFFLINE"}),
    "ONLINE:UPDATING": frozenset({"ONLINE", "OFFLINE"}),
    "OFFLINE": frozenset({"ONLINE", "OFFLINE"}),
    "DRAFT": frozenset(),
    "STUBBED": frozenset(),
}

# Ours: an RCS agent's id or a page's id, as their networks write them.
_NAME_CHARS_MAX: Final = 128


def channel_of(address: str) -> str:
    """Return the channel that an address is of: sms for numbers, short codes and alphanumeric senders."""
    return e164.split_address(address).channel


def identity_of(address: str) -> str:
    """Return what the channel knows the address by."""
    return e164.split_address(address).identity


def handset_address(address: str) -> str | None:
    """Return a person's address on a channel in its one spelling, or None where there is none such."""
    channel, identity = e164.split_address(address)
    if channel == "messenger":
        return f"{channel}:{identity}" if identity.isascii() and identity.isdigit() and len(identity) <= 32 else None
    number = e164.normalise(_plus(identity))
    return None if number is None else f"{channel}:{number}"


def sender_address(address: str) -> str | None:
    """Return a sender's address on a channel in its one spelling, or None where there is none such."""
    channel, identity = e164.split_address(address)
    if channel == "whatsapp":
        return handset_address(address)
    is_name = 0 < len(identity) <= _NAME_CHARS_MAX and identity.isascii() and identity.isprintable()
    return f"{channel}:{identity}" if is_name and " " not in identity else None


def _plus(identity: str) -> str:
    # A plus sign that a client did not encode arrives as a space.
    digits = identity.strip()
    return f"+{digits}" if digits.isdecimal() else digits
