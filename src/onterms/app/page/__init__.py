"""The first page, at `/`: the handset, the message log with each message's timeline, credentials, alerts, the clock.

Plain HTML, CSS and JavaScript modules, served as they are. The page reads `/console/v1/...`, which this package serves,
and drives the sandbox through `/simulator/v1/...`. What it shows of messages is text everywhere, never markup.
"""

from onterms.app.page.facts import PageFacts
from onterms.app.page.page import Page
from onterms.app.page.session import Sessions

__all__ = ["Page", "PageFacts", "Sessions"]
