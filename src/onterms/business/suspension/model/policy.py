"""The use policy's rules, evaluated before anything is charged (1.12, 2.2(c))."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from onterms.core.errors import InvalidParameter

Action = Literal["allow", "flag", "queue", "block"]
KINDS = ("opt_out", "quiet_hours", "content", "consent", "sender", "destination", "emergency")
_ORDER: tuple[Action, ...] = ("allow", "flag", "queue", "block")
# Twilio docs, error dictionary: the recipient opted out; content or destination not permitted.
CODES = {"opt_out": 21610, "destination": 21408}
_BLOCKED = 30007
# Ours: a violation weighs half after 30 days.
HALF_LIFE_DAYS = 30
_FORGOTTEN_HALVINGS = 20
# Emergency numbers: 112 (ITU-T E.161.1) and 911; whoever needs others writes a rule.
_EMERGENCY = ("112", "911")
# A rule, a block or a consent for messaging holds for every kind of message.
_FAMILIES = dict.fromkeys(("sms", "mms", "whatsapp", "rcs"), "messaging")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the policy.

    Shapes: empty service or country means every one.
    """

    sid: str
    service: str
    country: str
    condition: Mapping[str, Any]
    action: str
    weight: int
    text_ref: str


@dataclass(frozen=True, slots=True)
class Sending:
    """What is about to be sent, with what is known of sender and recipient."""

    service: str
    country: str
    sender: str
    to: str
    body: str = ""
    category: str = ""
    opted_out: bool = False
    consented: bool = False
    sender_registered: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules say: the strictest action, its error code, and every rule that was hit.

    Shapes: `until` is when what is to be queued may go.
    """

    action: Action
    code: int | None
    hits: tuple[Rule, ...]
    until: datetime | None = None


ALLOWED = Decision("allow", None, ())


def holds_for(wanted: str, service: str) -> bool:
    """Tell whether what is set for a service, a family of them or (empty) all holds for a service."""
    return wanted in ("", service) or wanted == _FAMILIES.get(service)


def family_of(service: str) -> str:
    """Return the family a service belongs to, or the service itself."""
    return _FAMILIES.get(service, service)


def check_action(condition: Mapping[str, Any], action: str) -> None:
    """Refuse an action that its condition cannot carry.

    Raises: InvalidParameter.
    """
    if action not in ("block", "queue", "flag"):
        raise InvalidParameter("'action' must be block, queue or flag")
    if action == "queue" and condition["kind"] != "quiet_hours":
        raise InvalidParameter("only quiet hours end by themselves, so only they can queue")


def read_condition(value: Mapping[str, Any]) -> dict[str, Any]:
    """Check a rule's condition.

    Raises: InvalidParameter.
    """
    kind = value.get("kind")
    if kind not in KINDS:
        raise InvalidParameter(f"'condition.kind' must be one of {', '.join(KINDS)}")
    if kind == "quiet_hours":
        try:
            ZoneInfo(str(value["zone"]))
            time.fromisoformat(str(value["from"]))
            time.fromisoformat(str(value["to"]))
        except (KeyError, ValueError, ZoneInfoNotFoundError):
            raise InvalidParameter("quiet hours need 'zone', 'from' and 'to' such as 21:00") from None
    if kind == "content" and not _texts(value.get("words")):
        raise InvalidParameter("a content rule needs 'words'")
    if kind == "destination" and not _texts(value.get("prefixes")):
        raise InvalidParameter("a destination rule needs 'prefixes'")
    return dict(value)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) and one for one in value)


def is_hit(rule: Rule, sending: Sending, at: datetime) -> bool:
    """Tell whether a rule's condition holds for a sending."""
    if not holds_for(rule.service, sending.service) or rule.country not in ("", sending.country):
        return False
    condition = rule.condition
    if condition.get("category", sending.category) != sending.category:
        return False
    kind = condition["kind"]
    if kind == "opt_out":
        return sending.opted_out
    if kind == "consent":
        return not sending.consented
    if kind == "sender":
        return not sending.sender_registered
    if kind == "content":
        body = sending.body.casefold()
        return any(word.casefold() in body for word in condition["words"])
    if kind == "destination":
        return any(sending.to.startswith(prefix) for prefix in condition["prefixes"])
    if kind == "emergency":
        return sending.to.lstrip("+") in condition.get("numbers", _EMERGENCY)
    local = at.astimezone(ZoneInfo(condition["zone"])).time()
    begin, end = time.fromisoformat(condition["from"]), time.fromisoformat(condition["to"])
    return begin <= local < end if begin <= end else local >= begin or local < end


def quiet_until(condition: Mapping[str, Any], at: datetime) -> datetime:
    """Return when the quiet hours that an instant lies in end."""
    local = at.astimezone(ZoneInfo(condition["zone"]))
    end = datetime.combine(local.date(), time.fromisoformat(condition["to"]), local.tzinfo)
    if end <= local:
        end += timedelta(days=1)
    return end.astimezone(UTC)


def decide(rules: Sequence[Rule], sending: Sending, at: datetime) -> Decision:
    """Evaluate all rules and return the strictest outcome."""
    hits = tuple(rule for rule in rules if is_hit(rule, sending, at))
    if not hits:
        return ALLOWED
    action: Action = "allow"
    code: int | None = None
    for rule in hits:
        for each in _ORDER:
            if each == rule.action and _ORDER.index(each) > _ORDER.index(action):
                action = each
                code = CODES.get(rule.condition["kind"], _BLOCKED) if each == "block" else None
    until = None
    if action == "queue":
        until = max(quiet_until(rule.condition, at) for rule in hits if rule.action == "queue")
    return Decision(action, code, hits, until)


def decayed_score(hits: Sequence[tuple[int, datetime]], at: datetime) -> int:
    """Sum up violations, each weighing half after every 30 days."""
    total = 0
    for weight, hit_at in hits:
        halvings = max(0, (at - hit_at).days // HALF_LIFE_DAYS)
        total += weight >> halvings if halvings < _FORGOTTEN_HALVINGS else 0
    return total
