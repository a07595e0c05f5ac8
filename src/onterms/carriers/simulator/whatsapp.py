"""The simulated WhatsApp network: Meta's Cloud API in front of virtual handsets.

Theory of operation. It answers as the Graph API does, with its shapes and errors, and says the rest by webhooks that it
signs as Meta does: one job each, one after another for each chat, repeated while nobody takes them. A freeform message
outside the 24 hours is taken and fails afterwards, as there. Handsets' settings and faults hold here too; a fault's
code of six digits is Meta's error. Numbers of a trusted business account need no code; others get one by text.

Source: Meta docs, Cloud API reference.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from email.parser import BytesParser
from email.policy import HTTP
from types import TracebackType
from typing import Any, Final

import aiohttp
import msgspec

from onterms.carriers.simulator import store
from onterms.carriers.simulator import whatsapp_store as network
from onterms.carriers.simulator.carrier import SimulatorCarrier
from onterms.carriers.simulator.errors import SettingInvalid
from onterms.carriers.simulator.media import gather_media
from onterms.carriers.simulator.store import HandsetMessage
from onterms.core.clock import Clock
from onterms.core.db import Database, Row, Tx
from onterms.core.e164 import is_e164
from onterms.core.ids import new_random_sid
from onterms.engines.api.own import OwnReply, OwnRequest, OwnRoute
from onterms.engines.jobs import Backoff, Job, NewJob, Run, Worker, enqueue
from onterms.ports.media import MediaFetcher
from onterms.ports.message_carrier import OutboundMessage

PREFIX: Final = "/simulator/whatsapp"
WEBHOOK_TASK: Final = "simulator.whatsapp_webhook"
# Meta docs, customer service windows.
WINDOW: Final = timedelta(hours=24)
_WAMID: Final = "wamid."
# Who texts the codes that prove whose a number is.
_CODES_FROM: Final = "+14155550199"
_TYPES: Final = frozenset(
    {
        "text",
        "image",
        "video",
        "audio",
        "document",
        "sticker",
        "location",
        "contacts",
        "interactive",
        "template",
        "reaction",
    }
)
_BODY_BYTES_MAX: Final = 20 * 1024 * 1024
_BACKOFF: Final = Backoff(first_s=1.0, max_s=300.0)
_PLACE = re.compile(r"\{\{\s*([0-9]{1,3})\s*\}\}")
_WORDS: Final[Mapping[int, str]] = {
    100: "Invalid parameter",
    190: "Invalid OAuth access token",
    131008: "Required parameter is missing",
    131009: "Parameter value is not valid",
    131016: "Service unavailable",
    131021: "Recipient cannot be sender",
    131026: "Message undeliverable",
    131047: "Re-engagement message",
    132000: "Number of parameters does not match the expected number of params",
    132001: "Template name does not exist in the translation",
    133010: "Phone number not registered",
    136025: "The code is wrong",
}


class _GraphError(Exception):
    def __init__(self, code: int, details: str, status: int = 400) -> None:
        super().__init__(details)
        self.code = code
        self.details = details
        self.status = status

    def reply(self) -> OwnReply:
        body = {
            "error": {
                "message": f"(#{self.code}) {_WORDS.get(self.code, 'Error')}",
                "type": "OAuthException",
                "code": self.code,
                "error_data": {"messaging_product": "whatsapp", "details": self.details},
                "fbtrace_id": new_random_sid("")[:22],
            }
        }
        return OwnReply(body, self.status)


class WhatsAppNetwork:
    """The network's servers, for a sandbox and for tests.

    Shapes: `base_url` and `callback_url` are set once the doors are open. `trusted` are business accounts whose numbers
    need no code.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        handsets: SimulatorCarrier,
        *,
        token: str,
        app_secret: str,
        trusted: Sequence[str] = (),
        media_fetcher: MediaFetcher | None = None,
    ) -> None:
        self.base_url = ""
        self.callback_url = ""
        self._database = database
        self._clock = clock
        self._handsets = handsets
        self._token = token
        self._app_secret = app_secret
        self._trusted = frozenset(trusted)
        self._media_fetcher = media_fetcher
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "WhatsAppNetwork":
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30.0), trust_env=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    def register(self, worker: Worker) -> None:
        """Serve the network's jobs; before the worker runs."""
        worker.register(WEBHOOK_TASK, self._call, batch_max=1, concurrency=16, attempts_max=50, backoff=_BACKOFF)

    def routes(self) -> list[OwnRoute]:
        """List the routes; only a sandbox mounts them."""
        one = PREFIX + "/{version}/{id}"

        def route(method: str, pattern: str, handler: Any, summary: str) -> OwnRoute:
            return OwnRoute(
                method,
                pattern,
                "open",
                free_handler=handler,
                body_bytes_max=_BODY_BYTES_MAX,
                takes_any=True,
                summary=summary,
            )

        return [
            route("GET", PREFIX + "/files/{id}", self.file, "Fetch a file from the simulated WhatsApp"),
            route("GET", one, self.get, "Read an object of the simulated WhatsApp"),
            route("GET", one + "/{edge}", self.get, "Read a list of the simulated WhatsApp"),
            route("POST", one + "/{edge}", self.post, "Ask something of the simulated WhatsApp"),
        ]

    # ---- the Graph API

    def _check_token(self, request: OwnRequest) -> None:
        given = request.headers.get(b"authorization", b"")
        if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            raise _GraphError(190, "The access token could not be decrypted", 401)

    async def get(self, request: OwnRequest) -> OwnReply:
        """Answer a GET."""
        try:
            self._check_token(request)
            async with self._database.transaction() as tx:
                return OwnReply(await self._get(tx, request.path["id"], request.path.get("edge", ""), request.query))
        except _GraphError as error:
            return error.reply()

    async def _get(self, tx: Tx, id_: str, edge: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        if edge == "phone_numbers":
            return {"data": [_shown_number(row) for row in await network.numbers(tx, id_)]}
        if edge == "message_templates":
            found = await network.templates(tx, id_, query.get("name"))
            return {"data": [_shown_template(row) for row in found]}
        if not edge:
            row = await network.number(tx, id_)
            if row is not None:
                return _shown_number(row)
            file = await network.file(tx, id_)
            if file is not None:
                return {
                    "messaging_product": "whatsapp",
                    "url": f"{self.base_url}{PREFIX}/files/{id_}",
                    "mime_type": file["content_type"],
                    "sha256": hashlib.sha256(file["data"]).hexdigest(),
                    "file_size": len(file["data"]),
                    "id": id_,
                }
        raise _GraphError(100, f"Unsupported get request. Object with ID '{id_[:64]}' does not exist")

    async def file(self, request: OwnRequest) -> OwnReply:
        """Serve a file."""
        try:
            self._check_token(request)
        except _GraphError as error:
            return error.reply()
        async with self._database.snapshot() as tx:
            file = await network.file(tx, request.path["id"])
        if file is None:
            return OwnReply(None, 404, raw=b"", content_type="text/plain")
        return OwnReply(None, raw=file["data"], content_type=file["content_type"])

    async def post(self, request: OwnRequest) -> OwnReply:
        """Answer a POST."""
        try:
            self._check_token(request)
            id_, edge = request.path["id"], request.path["edge"]
            if edge == "media":
                return await self._take_file(request, id_)
            body = _json(request.raw_body)
            if edge == "request_code":
                return await self._text_code(id_)
            async with self._database.transaction() as tx:
                if edge == "messages":
                    return await self._message(tx, id_, body)
                return OwnReply(await self._post(tx, id_, edge, body))
        except _GraphError as error:
            return error.reply()

    async def _post(self, tx: Tx, id_: str, edge: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if edge == "phone_numbers":
            digits = f"{body.get('cc')}{body.get('phone_number')}"
            if not is_e164(f"+{digits}"):
                raise _GraphError(100, "The phone number is not valid")
            name = str(body.get("verified_name") or digits)[:128]
            is_trusted = id_ in self._trusted
            row = await network.add_number(tx, f"9{digits}", id_, digits, name, is_verified=is_trusted)
            if row is None:
                raise _GraphError(100, "The phone number is in another WhatsApp Business Account")
            return _shown_number(row)
        if edge == "subscribed_apps":
            return {"success": True}
        if edge == "message_templates":
            return await self._template(tx, id_, body)
        row = await network.number(tx, id_)
        if row is None:
            raise _GraphError(100, f"Object with ID '{id_[:64]}' does not exist")
        if edge == "verify_code":
            if not row["code"] or not hmac.compare_digest(row["code"].encode(), str(body.get("code")).encode()):
                raise _GraphError(136025, "The code is not the one that was sent")
            await network.change_number(tx, id_, {"is_verified": True, "code": ""})
        elif edge == "register":
            if not row["is_verified"]:
                raise _GraphError(133010, "The phone number is not verified")
            if not re.fullmatch(r"[0-9]{6}", str(body.get("pin"))):
                raise _GraphError(131008, "The pin has six digits")
            await network.change_number(tx, id_, {"is_registered": True})
        elif edge == "deregister":
            await network.change_number(tx, id_, {"is_registered": False})
        elif edge == "whatsapp_business_profile":
            await network.change_number(tx, id_, {"profile": {**row["profile"], **body}})
        else:
            raise _GraphError(100, f"Unsupported post request to {edge[:64]}")
        return {"success": True}

    async def _text_code(self, phone_number_id: str) -> OwnReply:
        async with self._database.transaction() as tx:
            row = await network.number(tx, phone_number_id)
            if row is None:
                raise _GraphError(100, f"Object with ID '{phone_number_id[:64]}' does not exist")
            code = f"{int(new_random_sid('')[:12], 16) % 1_000_000:06}"
            await network.change_number(tx, phone_number_id, {"code": code})
        text = f"Your WhatsApp code: {code[:3]}-{code[3:]}"
        await self._handsets.send_from_handset(_CODES_FROM, f"+{row['number']}", text)
        return OwnReply({"success": True})

    async def _take_file(self, request: OwnRequest, phone_number_id: str) -> OwnReply:
        head = b"Content-Type: " + request.headers.get(b"content-type", b"") + b"\r\n\r\n"
        parsed = BytesParser(policy=HTTP).parsebytes(head + request.raw_body)
        parts = list(parsed.iter_parts()) if parsed.is_multipart() else []
        part = next((each for each in parts if each.get_param("name", header="content-disposition") == "file"), None)
        data = part.get_payload(decode=True) if part is not None else None
        if part is None or not isinstance(data, bytes) or not data:
            raise _GraphError(131008, "The parameter file is required")
        async with self._database.transaction() as tx:
            if await network.number(tx, phone_number_id) is None:
                raise _GraphError(100, f"Object with ID '{phone_number_id[:64]}' does not exist")
            return OwnReply({"id": await network.add_file(tx, part.get_content_type(), data)})

    # ---- templates

    async def _template(self, tx: Tx, waba_id: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        name, language, category = (str(body.get(key) or "") for key in ("name", "language", "category"))
        components = body.get("components")
        if not re.fullmatch(r"[a-z0-9_]{1,512}", name) or not language or not isinstance(components, list):
            raise _GraphError(100, "name, language and components are required")
        row = await network.add_template(tx, waba_id, name, language, category, components, "PENDING")
        if row is None:
            raise _GraphError(100, "Content in this language already exists")
        texts = [str(each.get("text") or "") for each in components if isinstance(each, dict)]
        reason = "INVALID_FORMAT" if any(len(text) > 1024 for text in texts) else "NONE"
        event = "APPROVED" if reason == "NONE" else "REJECTED"
        value = {
            "event": event,
            "message_template_id": row["id"],
            "message_template_name": name,
            "message_template_language": language,
            "reason": reason,
        }
        await network.set_template(tx, row["id"], event)
        await self._say(tx, waba_id, "message_template_status_update", value, f"template {row['id']}", 0.0)
        return {"id": str(row["id"]), "status": "PENDING", "category": category}

    async def _fill_in(self, tx: Tx, waba_id: str, template: Mapping[str, Any]) -> tuple[str, list[dict[str, str]]]:
        """Return what a template says and its buttons."""
        language = template.get("language")
        code = language.get("code") if isinstance(language, dict) else None
        found = await network.templates(tx, waba_id, str(template.get("name")), str(code))
        if not found or found[0]["status"] != "APPROVED":
            raise _GraphError(132001, f"template name ({str(template.get('name'))[:64]}) does not exist in {code}", 404)
        given = [each for each in template.get("components") or () if isinstance(each, dict)]
        body_text, buttons = "", []
        for component in found[0]["components"]:
            if component.get("type") == "BODY":
                values = [
                    str(parameter.get("text"))
                    for each in given
                    if each.get("type") == "body"
                    for parameter in each.get("parameters") or ()
                ]
                text = component.get("text") or "{{1}} is your verification code."
                wanted = len(set(_PLACE.findall(text)))
                if len(values) != wanted:
                    details = f"body: number of localizable_params ({len(values)}) does not match the expected {wanted}"
                    raise _GraphError(132000, details)
                body_text = _fill(text, values)
            elif component.get("type") == "BUTTONS":
                payloads = {
                    str(each.get("index")): parameter.get("payload")
                    for each in given
                    if each.get("type") == "button" and each.get("sub_type") == "quick_reply"
                    for parameter in each.get("parameters") or ()
                }
                buttons = [
                    {
                        "type": str(button.get("type")),
                        "title": str(button.get("text") or ""),
                        "id": str(payloads.get(str(index)) or button.get("text") or ""),
                    }
                    for index, button in enumerate(component.get("buttons") or ())
                ]
        return body_text, buttons

    # ---- from businesses to handsets

    async def _message(self, tx: Tx, phone_number_id: str, body: Mapping[str, Any]) -> OwnReply:
        row = await network.number(tx, phone_number_id)
        if row is None or not row["is_registered"]:
            raise _GraphError(133010, "The phone number is not registered")
        if body.get("messaging_product") != "whatsapp":
            raise _GraphError(100, "The parameter messaging_product is required")
        if body.get("status") == "read":
            known = await network.message(tx, str(body.get("message_id")))
            if known is None or not known["is_inbound"] or known["phone_number_id"] != phone_number_id:
                raise _GraphError(131009, "The message_id is not known")
            return OwnReply({"success": True})
        digits = "".join(letter for letter in str(body.get("to") or "") if letter.isdigit())
        kind = body.get("type") or "text"
        shown = body.get(kind) if isinstance(kind, str) else None
        if not is_e164(f"+{digits}"):
            raise _GraphError(131009, "The parameter to is not a phone number")
        if kind not in _TYPES or not isinstance(shown, dict | list):
            raise _GraphError(131009, "The parameter type is not valid")
        if digits == row["number"]:
            raise _GraphError(131021, "The recipient is the sender")
        assert isinstance(shown, dict)
        handset = f"+{digits}"
        text, content, urls = await self._read_message(tx, row, str(kind), shown)
        sender, recipient = f"whatsapp:+{row['number']}", f"whatsapp:{handset}"
        opaque = str(body.get("biz_opaque_callback_data") or "")[:512]
        asked = OutboundMessage(opaque, "", sender, recipient, text, (), 1, "GSM-7", channel="whatsapp")
        [plan] = await self._handsets.faults.plan(tx, [asked])
        if plan.outcome == "reject":
            code = _meta_code(plan.code, 131026)
            # Not raised: the fault has struck, and is counted with this transaction.
            return _GraphError(code, _WORDS.get(code, "Rejected by the handset")).reply()
        if plan.outcome == "unreachable":
            return _GraphError(_meta_code(plan.code, 131016), "Please try again later", 503).reply()
        at = self._clock.now()
        heard = await network.heard_at(tx, phone_number_id, handset)
        error = 0
        if kind != "template" and (heard is None or at - heard >= WINDOW):
            error = 131047
        elif plan.outcome in ("undelivered", "failed"):
            error = _meta_code(plan.code, 131026)
        wamid = _WAMID + new_random_sid("")
        is_new = bool(opaque) and not await network.sid_is_known(tx, opaque)
        kept = HandsetMessage(
            handset,
            "undelivered" if error else "received",
            sender,
            recipient,
            text,
            tuple(urls),
            opaque if is_new else None,
            "UCS-2",
            1,
            at,
        )
        message_id = await store.put_one(tx, kept)
        await network.set_content(tx, handset, message_id, content)
        await network.add_message(tx, wamid, phone_number_id, handset, message_id, is_inbound=False, opaque=opaque)
        if plan.outcome != "lost_receipt":
            await self._tell(tx, row, wamid, handset, opaque, "sent", 0.0)
            await self._tell(tx, row, wamid, handset, opaque, "failed" if error else "delivered", plan.delay_s, error)
        if plan.outcome == "unknown":
            # Taken, and the answer lost on its way.
            return OwnReply(None, 504, raw=b"<html>Gateway Timeout</html>", content_type="text/html")
        answer = {
            "messaging_product": "whatsapp",
            "contacts": [{"input": str(body.get("to")), "wa_id": digits}],
            "messages": [{"id": wamid, "message_status": "accepted"}],
        }
        return OwnReply(answer)

    async def _read_message(
        self, tx: Tx, row: Row, kind: str, shown: Mapping[str, Any]
    ) -> tuple[str, Mapping[str, Any], list[str]]:
        """Return a message's text, what it shows beside, and where its files are."""
        content: dict[str, Any] = {"type": kind, **({kind: shown} if kind != "text" else {})}
        if kind == "text":
            text = shown.get("body")
            if not isinstance(text, str) or not 1 <= len(text) <= 4096:
                raise _GraphError(100, "Param text['body'] must have 1 to 4096 characters")
            return text, content, []
        if kind == "template":
            text, content["buttons"] = await self._fill_in(tx, row["waba_id"], shown)
            return text, content, []
        if kind == "interactive":
            found = shown.get("body")
            action = shown.get("action")
            if shown.get("type") not in ("button", "list", "cta_url") or not isinstance(action, dict):
                raise _GraphError(131009, "The interactive message is not valid")
            return str(found.get("text") if isinstance(found, dict) else ""), content, []
        if "id" in shown:
            if await network.file(tx, str(shown["id"])) is None:
                raise _GraphError(131009, "The media id is not known")
            return str(shown.get("caption") or ""), content, [f"{self.base_url}{PREFIX}/files/{shown['id']}"]
        if "link" in shown:
            return str(shown.get("caption") or ""), content, [str(shown["link"])]
        if kind in ("image", "video", "audio", "document", "sticker"):
            raise _GraphError(131008, "The media has neither id nor link")
        return str(shown.get("name") or ""), content, []

    async def _tell(
        self, tx: Tx, row: Row, wamid: str, handset: str, opaque: str, status: str, delay_s: float, error: int = 0
    ) -> None:
        at = self._clock.now() + timedelta(seconds=delay_s)
        said: dict[str, Any] = {
            "id": wamid,
            "status": status,
            "timestamp": str(int(at.timestamp())),
            "recipient_id": handset.lstrip("+"),
        }
        if opaque:
            said["biz_opaque_callback_data"] = opaque
        if error:
            words = _WORDS.get(error, "Message failed to send")
            said["errors"] = [{"code": error, "title": words, "message": words, "error_data": {"details": words}}]
        await self._say_of(tx, row, handset, {"statuses": [said]}, delay_s)

    async def _say_of(self, tx: Tx, row: Row, handset: str, news: Mapping[str, Any], delay_s: float = 0.0) -> None:
        metadata = {"display_phone_number": row["number"], "phone_number_id": row["phone_number_id"]}
        value = {"messaging_product": "whatsapp", "metadata": metadata, **news}
        key = f"whatsapp {row['phone_number_id']} {handset}"
        await self._say(tx, row["waba_id"], "messages", value, key, delay_s)

    async def _say(self, tx: Tx, waba_id: str, field: str, value: Any, key: str, delay_s: float) -> None:
        at = self._clock.now()
        body = {"object": "whatsapp_business_account", "entry": [{"id": waba_id, "changes": [_change(field, value)]}]}
        job = NewJob(WEBHOOK_TASK, {"body": body}, order_key=key, due_at=at + timedelta(seconds=delay_s))
        await enqueue(tx, [job], at)

    async def _call(self, run: Run, batch: list[Job]) -> None:
        assert self._session is not None, "the network is entered before it is used"
        for job in batch:
            body = msgspec.json.encode(job.payload["body"])
            headers = {"Content-Type": "application/json", "X-Hub-Signature-256": sign(self._app_secret, body)}
            async with self._session.post(self.callback_url, data=body, headers=headers) as response:
                # What is not taken is said again: the worker repeats what raises.
                response.raise_for_status()
            async with run.transaction() as tx:
                await run.complete(tx, [job])

    # ---- from handsets to businesses

    async def knows(self, digits: str) -> bool:
        """Tell whether a number is some business's here."""
        async with self._database.snapshot() as tx:
            return await network.number_of(tx, digits) is not None

    async def send_from_handset(
        self,
        handset: str,
        recipient: str,
        body: str,
        media_urls: Sequence[str],
        *,
        tap: str = "",
        reply_to: int | None = None,
        location: Mapping[str, Any] | None = None,
    ) -> HandsetMessage:
        """Send from a handset to a business: text, one file, a place, or a tap on what the business sent.

        Raises: MediaInvalid, SettingInvalid.
        """
        media = await gather_media(media_urls, self._media_fetcher)
        if len(media) > 1:
            raise SettingInvalid("a WhatsApp message has one file at most")
        at = self._clock.now()
        async with self._database.transaction() as tx:
            row = await network.number_of(tx, recipient.lstrip("+"))
            if row is None:
                raise SettingInvalid("the number is no business's on WhatsApp")
            message: dict[str, Any] = {"from": handset.lstrip("+"), "timestamp": str(int(at.timestamp()))}
            shown: dict[str, Any]
            context: Row | None = None
            if tap or reply_to is not None:
                context = await network.received(tx, handset, row["phone_number_id"], reply_to)
                if context is None:
                    raise SettingInvalid("the handset has no such message from this number")
                message["context"] = {"from": row["number"], "id": context["wamid"]}
            if tap:
                assert context is not None
                kind, shown, body = _tapped(context["content"] or {}, tap)
            elif location is not None:
                kind, shown = "location", dict(location)
            elif media:
                kind = _kind_of(media[0].content_type)
                file_id = await network.add_file(tx, media[0].content_type, media[0].data)
                shown = {"id": file_id, "mime_type": media[0].content_type}
                shown["sha256"] = hashlib.sha256(media[0].data).hexdigest()
                if body and kind in ("image", "video", "document"):
                    shown["caption"] = body
            else:
                kind, shown = "text", {"body": body}
            wamid = _WAMID + new_random_sid("")
            message |= {"id": wamid, "type": kind, kind: shown}
            await network.hear(tx, row["phone_number_id"], handset, at)
            kept = HandsetMessage(
                handset,
                "sent",
                f"whatsapp:{handset}",
                f"whatsapp:+{row['number']}",
                body,
                tuple(media_urls),
                None,
                "UCS-2",
                1,
                at,
                content={"type": kind, **({kind: shown} if kind != "text" else {})},
            )
            message_id = await store.put_one(tx, kept)
            await network.set_content(tx, handset, message_id, kept.content)
            await network.add_message(
                tx, wamid, row["phone_number_id"], handset, message_id, is_inbound=True, opaque=""
            )
            profile = {"profile": {"name": f"Handset {handset}"}, "wa_id": handset.lstrip("+")}
            await self._say_of(tx, row, handset, {"contacts": [profile], "messages": [message]})
        return replace(kept, id=message_id)

    async def read_all(self, tx: Tx, handset: str) -> int:
        """Let a handset read what it received."""
        rows = await network.read_all(tx, handset)
        for row in rows:
            number = await network.number(tx, row["phone_number_id"])
            if number is not None:
                await self._tell(tx, number, row["wamid"], handset, row["opaque"], "read", 0.0)
        return len(rows)


def sign(app_secret: str, body: bytes) -> str:
    """Sign a webhook as Meta does."""
    return "sha256=" + hmac.digest(app_secret.encode(), body, "sha256").hex()


def _change(field: str, value: Any) -> dict[str, Any]:
    return {"field": field, "value": value}


def _tapped(content: Mapping[str, Any], tap: str) -> tuple[str, dict[str, Any], str]:
    """Return type, object and text of the answer that a tap makes. Raises: SettingInvalid."""
    for button in content.get("buttons") or ():
        if tap in (button["id"], button["title"]) and button["type"] == "QUICK_REPLY":
            return "button", {"payload": button["id"], "text": button["title"]}, button["title"]
    interactive = content.get("interactive") or {}
    action = interactive.get("action") or {}
    for button in action.get("buttons") or ():
        reply = button["reply"]
        if tap in (reply["id"], reply["title"]):
            return "interactive", {"type": "button_reply", "button_reply": dict(reply)}, reply["title"]
    for section in action.get("sections") or ():
        for item in section["rows"]:
            if tap in (item["id"], item["title"]):
                return "interactive", {"type": "list_reply", "list_reply": dict(item)}, item["title"]
    raise SettingInvalid("the message has no such button")


def _meta_code(code: int | None, otherwise: int) -> int:
    # Codes of the other networks have five digits.
    return code if code is not None and code >= 100_000 else otherwise


def _kind_of(content_type: str) -> str:
    first = content_type.partition("/")[0]
    if content_type == "image/webp":
        return "sticker"
    return first if first in ("image", "video", "audio") else "document"


def _fill(text: str, values: Sequence[str]) -> str:
    places = sorted({int(name) for name in _PLACE.findall(text)})
    by_name = {str(place): value for place, value in zip(places, values, strict=True)}
    return _PLACE.sub(lambda match: by_name[str(int(match[1]))], text)


def _shown_number(row: Row) -> dict[str, Any]:
    return {
        "id": row["phone_number_id"],
        "display_phone_number": f"+{row['number']}",
        "verified_name": row["name"],
        "code_verification_status": "VERIFIED" if row["is_verified"] else "NOT_VERIFIED",
        "quality_rating": "GREEN",
        "messaging_limit_tier": "TIER_1K",
        "platform_type": "CLOUD_API",
    }


def _shown_template(row: Row) -> dict[str, Any]:
    names = ("name", "language", "category", "components", "status")
    return {"id": str(row["id"]), **{name: row[name] for name in names}}


def _json(body: bytes) -> Mapping[str, Any]:
    try:
        decoded = msgspec.json.decode(body) if body else {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        decoded = None
    if not isinstance(decoded, dict):
        raise _GraphError(100, "The request body is no JSON object")
    return decoded
