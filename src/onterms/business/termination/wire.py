"""The outside shapes of this room."""

from datetime import date

from onterms.engines.api.shapes import Moment, Shape


class Outlook(Shape, omit_defaults=True):
    """What notice for convenience would mean today: when it would end, and what is not paid back by currency."""

    last_day: date
    ends_at: Moment
    last_order_form_ends_on: date | None
    unused_funds: dict[str, str] | None = None


class Clauses(Shape):
    """The clauses that bind now."""

    terminated: bool
    items: list[str]
    next: str | None = None


class Duty(Shape):
    """A duty of the operator, and whether it stands now."""

    clause: str
    duty: str
    active: bool
