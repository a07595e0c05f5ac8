"""The port between channel senders (WhatsApp numbers, RCS agents) and the networks that know them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from onterms.core.db import Tx
from onterms.ports.message_carrier import MessageCarrier, MessageSink, Unreachable

# Twilio docs, Senders API.
SenderStatus = Literal[
    "CREATING",
    "ONLINE",
    "OFFLINE",
    "PENDING_VERIFICATION",
    "VERIFYING",
    "ONLINE:UPDATING",
    "TWILIO_REVIEW",
    "DRAFT",
    "STUBBED",
]
Step = Literal["enrol", "verify", "update", "withdraw"]


@dataclass(frozen=True, slots=True)
class ChannelSender:
    """One address that an account sends from on a channel.

    Shapes: `address` is a channel address (whatsapp:+14155550123, rcs:agent_id); `configuration` and `profile` are the
    Senders API's objects as the customer gave them.
    """

    account_sid: str
    sid: str
    address: str
    configuration: Mapping[str, Any] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)
    # Whether the account holds the number here, which proves as much as a code does.
    holds_number: bool = False
    # By which the customer proves that the number is his; of the step verify only.
    verification_code: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a network says of a sender.

    Shapes: `properties` may hold quality_rating and messaging_limit; `reasons` pairs an error code with words.
    """

    status: SenderStatus
    properties: Mapping[str, str] = field(default_factory=dict)
    reasons: tuple[tuple[int, str], ...] = ()
    # Known to the network only: an id, a name.
    facts: Mapping[str, Any] = field(default_factory=dict)


class ChannelCarrier(MessageCarrier, Protocol):
    """A carrier of one channel's messages, which also keeps its senders."""

    channel: str

    async def advance(self, sender: ChannelSender, step: Step) -> Standing | Unreachable:
        """Enrol, verify, update or withdraw a sender at the network; repeats are safe.

        Called outside any transaction, again later where it answers Unreachable.
        """
        ...

    async def show_typing(self, sender: str, recipient: str, carrier_id: str) -> int | None:
        """Show the recipient that somebody types, in answer to an inbound message; return an error code, or None."""
        ...


@dataclass(frozen=True, slots=True)
class SubmittedTemplate:
    """A template on its way to a channel's reviewers.

    Shapes: `types` as they were written, with places; `samples` has a value for each place.
    """

    account_sid: str
    sid: str
    name: str
    category: str
    language: str
    types: Mapping[str, Mapping[str, Any]]
    samples: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Review:
    """What reviewers say of a template; pending is that they look at it."""

    status: Literal["pending", "approved", "rejected"]
    reason: str = ""


class TemplateReviewer(Protocol):
    """A channel's reviewers of templates."""

    async def submit(self, template: SubmittedTemplate) -> Review | Unreachable:
        """Ask for a template's approval; called outside any transaction, repeats are safe."""
        ...


class ReviewSink(Protocol):
    """What reviewers report later; the caller commits."""

    async def __call__(self, tx: Tx, account_sid: str, sid: str, review: Review) -> None:
        """Record a review; one that does not follow changes nothing."""
        ...


class ChannelSink(MessageSink, Protocol):
    """What a channel's carrier reports upwards; the caller commits."""

    async def standing_changed(self, tx: Tx, account_sid: str, sid: str, standing: Standing) -> None:
        """Record that the network changed its mind about a sender."""
        ...

    async def senders_online(self, tx: Tx, addresses: Sequence[str]) -> Mapping[str, str]:
        """Return the accounts of those channel addresses that are online."""
        ...
