"""The outside shapes of this room: what requests hold and what answers show."""

from datetime import date
from typing import Annotated, Any

from msgspec import Meta

from onterms.engines.api.shapes import Json, Shape, Sid, Text

_Topic = Annotated[str, Meta(min_length=1)]


class NewPlan(Shape):
    """A support plan's targets: minutes by priority."""

    targets: dict[str, int]


class Plan(NewPlan, kw_only=True):
    """A support plan."""

    name: str


class NewChange(Shape):
    """A change of a service that is planned, and why it may come sooner or unannounced."""

    title: Text
    endpoint: Text
    planned_on: date
    breaking: bool = False
    override_reason: Annotated[str, Meta(max_length=2000)] = ""
    exempt_reason: Annotated[str, Meta(max_length=20)] = ""


class ChangeMade(Shape):
    """A change that was announced, and the notices that went out."""

    sid: Sid
    planned_on: date
    notices: list[Sid]


class ServiceChange(Shape):
    """An announced change."""

    sid: Sid
    title: str
    endpoint: str
    breaking: bool
    planned_on: date
    announced_on: date
    override_reason: str
    exempt_reason: str
    state: str


class NewRecord(Shape):
    """A document and the topics that are masked in its copy."""

    document: Json
    topics: tuple[_Topic, ...] = ()


class PublicRecord(Shape):
    """The copy that may be disclosed."""

    sid: Sid
    document: Any
    masked: int
