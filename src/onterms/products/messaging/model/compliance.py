"""What an account may want looked at before its messages go out."""

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked at.

    Shapes: `countries` are those whose recipients have quiet hours; `default_zone` is for numbers that say nothing of
    where they are; `exempt_services` send what is not to wait, such as codes.
    """

    quiet_hours: bool = True
    # Twilio docs, error 30610: not before 8 a.m. or after 9 p.m. at the recipient's.
    quiet_from: str = "21:00"
    quiet_to: str = "08:00"
    action: str = "reschedule"
    countries: tuple[str, ...] = ("US",)
    default_zone: str = "America/New_York"
    exempt_services: tuple[str, ...] = ()
    reassigned_numbers: bool = False
    deactivated_numbers: bool = False
