"""Templates on their way to WhatsApp's reviewers.

Source: Meta docs, "Message templates": POST /{waba_id}/message_templates, categories, components, examples.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from onterms.carriers.whatsapp import codes, compose, store
from onterms.carriers.whatsapp.graph import Answered, Failed, Graph
from onterms.core.clock import Clock
from onterms.core.db import Database
from onterms.core.errors import ConfigError
from onterms.core.vault import Vault
from onterms.ports.channels import Review, SubmittedTemplate
from onterms.ports.message_carrier import Unreachable

_STATUSES: Final[Mapping[str, Review]] = {
    "APPROVED": Review("approved"),
    "PENDING": Review("pending"),
    "REJECTED": Review("rejected", "The reviewers rejected it"),
}
# Twilio docs, content types: kinds of a button's action.
_BUTTONS: Final[Mapping[str, str]] = {"QUICK_REPLY": "QUICK_REPLY", "PHONE_NUMBER": "PHONE_NUMBER", "URL": "URL"}
_PLACE = re.compile(r"\{\{\s*([A-Za-z0-9_]{1,32})\s*\}\}")


class WhatsAppReviewer:
    """A `TemplateReviewer`: Meta's, in the account's WhatsApp Business Account."""

    def __init__(self, database: Database, clock: Clock, vault: Vault, graph: Graph) -> None:
        self._database = database
        self._clock = clock
        self._vault = vault
        self._graph = graph

    async def submit(self, template: SubmittedTemplate) -> Review | Unreachable:
        """Ask for a template's approval; what was asked before under its name is looked up."""
        async with self._database.snapshot() as tx:
            row = await store.account_for(tx, template.account_sid, None)
        if row is None:
            return Review("rejected", "There is no WhatsApp Business Account to submit it to")
        try:
            account = store.account_of(self._vault, row)
        except ConfigError:
            return Unreachable("the WhatsApp Business Account cannot be used")
        try:
            name = compose.upstream_name(template.name, template.sid)
            body = {
                "name": name,
                "language": template.language,
                "category": template.category,
                "components": _components(template),
            }
        except compose.Unshowable as error:
            return Review("rejected", error.reason)
        except (KeyError, TypeError, AttributeError, ValueError):
            return Review("rejected", "The template lacks what its type needs")
        # The verdict may come before the answer.
        await self._keep(template, account.waba_id, "")
        path = (account.waba_id, "message_templates")
        result = await self._graph.post(account.base_url, account.token, path, body)
        if isinstance(result, Failed) and result.error not in codes.TRY_LATER and result.status < 500:
            # Asked again after a crash, it is there already.
            found = await self._graph.get(account.base_url, account.token, path, {"name": name})
            listed = found.body.get("data") if isinstance(found, Answered) else None
            if not (isinstance(listed, list) and listed and isinstance(listed[0], dict)):
                return Review("rejected", result.reason)
            result = Answered(listed[0])
        if not isinstance(result, Answered):
            return Unreachable(result.reason)
        template_id = str(result.body.get("id") or "")
        await self._keep(template, account.waba_id, template_id)
        return _STATUSES.get(str(result.body.get("status")), Review("pending"))

    async def _keep(self, template: SubmittedTemplate, waba_id: str, template_id: str) -> None:
        async with self._database.transaction() as tx:
            at = self._clock.now()
            await store.save_template(tx, template.account_sid, template.sid, waba_id, template_id, at)


def _components(template: SubmittedTemplate) -> list[dict[str, Any]]:
    name, source = compose.form_of(template.types)
    samples = template.samples
    if name == "whatsapp/authentication":
        body: dict[str, Any] = {"type": "BODY"}
        if source.get("add_security_recommendation"):
            body["add_security_recommendation"] = True
        components = [body]
        if source.get("code_expiration_minutes"):
            components.append({"type": "FOOTER", "code_expiration_minutes": source["code_expiration_minutes"]})
        title = (source.get("actions") or [{}])[0].get("copy_code_text") or "Copy code"
        return [*components, {"type": "BUTTONS", "buttons": [{"type": "OTP", "otp_type": "COPY_CODE", "text": title}]}]
    if name == "twilio/carousel":
        cards = [{"components": _of_card(card, samples)} for card in source["cards"]]
        return [_body(source.get("body", ""), samples), {"type": "CAROUSEL", "cards": cards}]
    return _of_card(source, samples)


def _of_card(source: Mapping[str, Any], samples: Mapping[str, str]) -> list[dict[str, Any]]:
    components: list[dict[str, Any]] = []
    media = source.get("media") or []
    urls = [media] if isinstance(media, str) else list(media)
    if urls:
        kind = compose.kind_of_url(urls[0])
        example = {"header_handle": [_filled(urls[0], samples)]}
        components.append({"type": "HEADER", "format": kind.upper(), "example": example})
    elif source.get("header_text"):
        components.append({"type": "HEADER", "format": "TEXT", "text": source["header_text"]})
    components.append(_body(compose.text_of(source), samples))
    footer = source.get("footer") or source.get("subtitle")
    if footer:
        components.append({"type": "FOOTER", "text": footer})
    buttons = [_button(action, samples) for action in source.get("actions") or ()]
    if buttons:
        components.append({"type": "BUTTONS", "buttons": buttons})
    return components


def _body(text: str, samples: Mapping[str, str]) -> dict[str, Any]:
    places = compose.places_of(text)
    # Meta numbers places from 1, in their order.
    numbers = {name: str(index) for index, name in enumerate(places, 1)}
    body: dict[str, Any] = {"type": "BODY", "text": _PLACE.sub(lambda match: f"{{{{{numbers[match[1]]}}}}}", text)}
    if places:
        body["example"] = {"body_text": [[samples[name] for name in places]]}
    return body


def _button(action: Mapping[str, Any], samples: Mapping[str, str]) -> dict[str, Any]:
    kind = _BUTTONS.get(action.get("type") or "QUICK_REPLY")
    if kind is None:
        return {"type": "COPY_CODE", "example": _filled(action["code"], samples)}
    button: dict[str, Any] = {"type": kind, "text": action["title"]}
    if kind == "PHONE_NUMBER":
        button["phone_number"] = action["phone"]
    if kind == "URL":
        button["url"] = _PLACE.sub("{{1}}", action["url"])
        if button["url"] != action["url"] or "{{" in action["url"]:
            button["example"] = [_filled(action["url"], samples)]
    return button


def _filled(text: str, samples: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda match: samples[match[1]], text)


def verdict_of(event: str, reason: str) -> Review | None:
    """Return what an event of the template's status says, or None where it is none of approvals.

    Source: Meta docs, message_template_status_update.
    """
    if event == "APPROVED":
        return Review("approved")
    if event == "REJECTED":
        return Review("rejected", reason if reason and reason != "NONE" else "The reviewers rejected it")
    return None


__all__: Sequence[str] = ("WhatsAppReviewer", "verdict_of")
