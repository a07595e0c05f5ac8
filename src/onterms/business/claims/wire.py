"""The outside shapes of this room: what requests hold and what answers show."""

from datetime import date
from typing import Annotated, Literal

from msgspec import Meta

from onterms.engines.api.shapes import Instant, Micros, Moment, Shape

MINUTES_MAX = 1440

_Count = Annotated[int, Meta(ge=0)]
_Version = Annotated[str, Meta(max_length=100)]


class CapQuery(Shape):
    """The services (with commas between) and the first incident that a liability arises from."""

    services: str
    first_incident: Instant
    party: Literal["operator", "customer"] = "operator"
    basis: str = ""
    earlier_awards: str = "0"


class Cap(Shape):
    """The cap of 7.2: null where there is none."""

    cap: str | None
    cap_with_surcharges: str | None
    from_at: Moment | None
    until_at: Moment | None
    rows_sha256: str | None
    basis: str | None
    earlier_awards: Micros


class NewService(Shape):
    """A service's stage and who provides it."""

    stage: str
    provider: str
    terms_version: _Version = ""
    provider_entity: Annotated[str, Meta(max_length=20)] = ""


class Service(Shape):
    """A service of the catalogue."""

    service: str
    stage: str
    provider: str
    terms_version: str
    provider_entity: str | None


class NewSla(Shape):
    """From a month on: the share that must work, in millionths, and the share of the fees that is credited."""

    from_month: date
    threshold_ppm: _Count
    credit_percent: _Count


class Sla(Shape):
    """A service's level."""

    service: str
    threshold_ppm: int
    credit_percent: int


class NewMeasurement(Shape):
    """Probes from outside, in each of some minutes."""

    minute: Instant
    tried: _Count
    failed: _Count
    minutes: Annotated[int, Meta(ge=1, le=MINUTES_MAX)] = 1


class Measurement(Shape):
    """What was entered."""

    service: str
    minutes: int
    tried: int
    failed: int


class ServiceTerms(Shape):
    """The version of a third party's terms."""

    terms_version: _Version


class TermsAccepted(Shape):
    """Terms that were accepted."""

    service: str
    terms_version: str


class Enabled(Shape):
    """A service that is enabled."""

    service: str
    enabled: bool
