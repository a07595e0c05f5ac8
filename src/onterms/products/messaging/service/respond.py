"""The conversation with a customer's webhook about one inbound message: fetch TwiML, follow it, collect its wishes.

Nothing is stored here: the task that runs a conversation commits all of its outcome at once, so a crash repeats the
whole conversation (with the same idempotency token) and never half of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urljoin

from onterms.core import e164
from onterms.core.clock import Clock
from onterms.core.db import Row
from onterms.core.errors import Refusal
from onterms.ports.callback import Answer, Attempt, Callback, CallbackClient, Method
from onterms.products.messaging.model import NewMessage
from onterms.products.messaging.model.web import is_web_url
from onterms.products.messaging.service.send import Draft, compose
from onterms.products.monitor import NewAlert
from onterms.products.numbers import OwnedNumber
from onterms.protocols import twiml

# Ours: a document may redirect to another; a loop ends here with 14106.
DOCUMENTS_MAX = 10
# Ours: replies one inbound message may cause; more are cut with 14109.
REPLIES_MAX = 10
# Twilio support 223136287: a cookie lives at most four hours.
COOKIE_LIFE = timedelta(hours=4)

INVALID_CONTENT_TYPE = 12300
INVALID_METHOD = 14104
INVALID_TO = 14101
INVALID_BODY = 14103
INVALID_STATUS_CALLBACK = 14105
DOCUMENT_LIMIT = 14106
REPLY_LIMIT = 14109

_TWIML_TYPES = frozenset({"text/xml", "application/xml", "text/html"})
MESSAGE_URI = "https://api.twilio.com/2010-04-01/Accounts/{}/Messages/{}/Media/{}"


@dataclass(slots=True)
class Outcome:
    """What a conversation led to."""

    replies: list[NewMessage] = field(default_factory=list)
    alerts: list[NewAlert] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    cookies: list[tuple[str, str, datetime]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Step:
    url: str
    method: Method
    extra: tuple[tuple[str, str], ...] = ()


def inbound_params(
    message: Row, line: OwnedNumber, media: Sequence[Row], opt_out_type: str | None = None
) -> list[tuple[str, str]]:
    """Return the fields with which an inbound message is announced.

    Where a handset is, nobody tells us, so the From place stays empty but for the country that its number names.
    """
    sender = e164.parse(message["sender"])
    params = [
        ("ToCountry", line.country),
        ("ToState", line.region),
        ("SmsMessageSid", message["sid"]),
        ("NumMedia", str(len(media))),
        ("ToCity", line.locality),
        ("FromZip", ""),
        ("SmsSid", message["sid"]),
        ("FromState", ""),
        ("SmsStatus", "received"),
        ("FromCity", ""),
        ("Body", message["body"]),
        ("FromCountry", (sender.country if sender else "") or ""),
        ("To", message["recipient"]),
        ("ToZip", line.postal_code),
        ("NumSegments", str(message["num_segments"])),
        ("MessageSid", message["sid"]),
        ("AccountSid", message["account_sid"]),
        ("From", message["sender"]),
        ("ApiVersion", "2010-04-01"),
    ]
    if message["messaging_service_sid"]:
        params.append(("MessagingServiceSid", message["messaging_service_sid"]))
    if opt_out_type:
        params.append(("OptOutType", opt_out_type))
    for index, file in enumerate(media):
        uri = MESSAGE_URI.format(message["account_sid"], message["sid"], file["sid"])
        params += [(f"MediaContentType{index}", file["content_type"]), (f"MediaUrl{index}", uri)]
    return params


class Conversation:
    """One inbound message's dialogue with its webhook."""

    def __init__(
        self,
        client: CallbackClient,
        clock: Clock,
        message: Row,
        line: OwnedNumber,
        params: list[tuple[str, str]],
        *,
        signing_token: str,
        idempotency_token: str,
        cookies: Mapping[str, str],
    ) -> None:
        self._client = client
        self._clock = clock
        self._message = message
        self._line = line
        self._params = params
        self._signing_token = signing_token
        self._idempotency_token = idempotency_token
        self._cookies = dict(cookies)
        self.outcome = Outcome()

    async def run(self) -> Outcome:
        """Hold the conversation to its end."""
        step: _Step | None = _Step(self._line.sms.url, _method(self._line.sms.method))
        fallback_used = False
        for _ in range(DOCUMENTS_MAX):
            if step is None:
                return self.outcome
            answer = await self._fetch(step)
            error = answer.error_code
            next_step: _Step | None = None
            if error is None:
                error, next_step = self._read(step, answer)
            else:
                self._alert(error, answer.error, answer)
            if error is not None and self._line.sms.fallback_url and not fallback_used:
                fallback_used = True
                next_step = _Step(
                    self._line.sms.fallback_url,
                    _method(self._line.sms.fallback_method),
                    (("ErrorCode", str(error)), ("ErrorUrl", step.url)),
                )
            step = next_step
        if step is not None:
            self._alert(DOCUMENT_LIMIT, f"more than {DOCUMENTS_MAX} documents for one message", None)
        return self.outcome

    async def _fetch(self, step: _Step) -> Answer:
        answer = await self._client.call(
            Callback(
                account_sid=self._message["account_sid"],
                url=step.url,
                method=step.method,
                params=_merged(self._params, step.extra),
                signing_token=self._signing_token,
                idempotency_token=self._idempotency_token,
                cookies=self._cookies,
                expect="twiml",
            )
        )
        self.outcome.attempts += answer.attempts
        self._keep_cookies(answer.set_cookies)
        return answer

    def _read(self, step: _Step, answer: Answer) -> tuple[int | None, _Step | None]:
        """Follow one answer: the error code that calls for the fallback, or where to go next."""
        if not answer.body.strip():
            return None, None
        kind = answer.content_type.partition(";")[0].strip().lower()
        if kind == "text/plain":
            # PostgreSQL stores no NUL in text.
            self._reply(answer.body.decode("utf-8", "replace").replace("\0", "\ufffd"), ())
            return None, None
        if kind not in _TWIML_TYPES:
            self._alert(INVALID_CONTENT_TYPE, f"Content-Type is '{kind}'", answer)
            return INVALID_CONTENT_TYPE, None
        try:
            document = twiml.parse(answer.body, "Messaging")
        except twiml.TwimlError as error:
            self._alert(error.code, f"{error.message} (line {error.line})", answer)
            return error.code, None
        for warning in document.warnings:
            self._alert(warning.code, f"{warning.message} (line {warning.line})", answer, level="warning")
        return None, self._follow(step, document)

    def _follow(self, step: _Step, document: twiml.Document) -> _Step | None:
        for verb in document.verbs:
            if verb.name == "Redirect":
                return self._goto(step, verb.text or step.url, verb.get("method", "POST"), ())
            if verb.name in ("Message", "Sms"):
                message = self._message_verb(step, verb)
                action = verb.get("action")
                if action and message is not None:
                    # Twilio docs, TwiML Message: the action hears of the reply, so its SID replaces the inbound one's.
                    extra = (
                        ("MessageSid", message.sid),
                        ("MessageStatus", message.status),
                        ("SmsSid", message.sid),
                        ("SmsStatus", message.status),
                    )
                    return self._goto(step, action, verb.get("method", "POST"), extra)
        return None

    def _goto(self, step: _Step, url: str, method: str, extra: tuple[tuple[str, str], ...]) -> _Step | None:
        if method.upper() not in ("GET", "POST"):
            self._alert(INVALID_METHOD, f"method is '{method}'", None, level="warning")
            method = "POST"
        return _Step(_joined(step.url, url), _method(method), extra)

    def _message_verb(self, step: _Step, verb: twiml.Element) -> NewMessage | None:
        bodies = [child.text for child in verb.children if child.name == "Body"]
        media = tuple(_joined(step.url, child.text) for child in verb.children if child.name == "Media")
        body = "".join(bodies) if bodies else verb.text
        callback = verb.get("statusCallback")
        if callback:
            callback = _joined(step.url, callback)
            if not is_web_url(callback):
                self._alert(INVALID_STATUS_CALLBACK, f"statusCallback is '{callback[:256]}'", None, level="warning")
                callback = ""
        return self._reply(body, media, recipient=verb.get("to"), sender=verb.get("from"), status_callback=callback)

    def _reply(
        self, body: str, media: tuple[str, ...], *, recipient: str = "", sender: str = "", status_callback: str = ""
    ) -> NewMessage | None:
        if len(self.outcome.replies) >= REPLIES_MAX:
            self._alert(REPLY_LIMIT, f"more than {REPLIES_MAX} replies to one message", None, level="warning")
            return None
        draft = Draft(
            account_sid=self._message["account_sid"],
            recipient=recipient or self._message["sender"],
            sender=sender or self._message["recipient"],
            body=body,
            at=self._clock.now(),
            media_urls=media,
            status_callback=status_callback or None,
            direction="outbound-reply",
        )
        try:
            message = compose(draft)
        except Refusal as refusal:
            self.refuse(refusal)
            return None
        self.outcome.replies.append(message)
        return message

    def refuse(self, refusal: Refusal) -> None:
        """Note that a reply was refused."""
        code = {21602: INVALID_BODY, 21617: INVALID_BODY, 21211: INVALID_TO}.get(refusal.code, refusal.code)
        self._alert(code, refusal.message, None, level="warning")

    def _alert(self, code: int, text: str | None, answer: Answer | None, *, level: str | None = None) -> None:
        attempt = answer.attempts[-1] if answer is not None and answer.attempts else None
        self.outcome.alerts.append(
            alert_of(self._message["account_sid"], self._message["sid"], code, text, attempt, level=level)
        )

    def _keep_cookies(self, headers: Sequence[str]) -> None:
        now = self._clock.now()
        for header in headers:
            jar: SimpleCookie = SimpleCookie()
            try:
                jar.load(header)
            except CookieError:
                continue
            for name, morsel in jar.items():
                # Quoted, a cookie writes any byte as its octal number.
                if "\0" in morsel.value:
                    continue
                expires = min(now + COOKIE_LIFE, _cookie_expiry(morsel["max-age"], morsel["expires"], now))
                self._cookies[name] = morsel.value
                if expires <= now:
                    del self._cookies[name]
                self.outcome.cookies.append((name, morsel.value, expires))


def alert_of(
    account_sid: str, sid: str, code: int, text: str | None, attempt: Attempt | None, *, level: str | None = None
) -> NewAlert:
    """Make the debugger's row about one failed call."""
    return NewAlert(
        account_sid=account_sid,
        error_code=code,
        text=text,
        level="warning" if level == "warning" else None,
        resource_sid=sid,
        request_method=attempt.method if attempt else None,
        request_url=attempt.url if attempt else None,
        request_variables=attempt.request_body if attempt else None,
        response_headers=_header_text(attempt.response_headers) if attempt else None,
        response_body=attempt.response_body if attempt else None,
    )


def _header_text(headers: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in headers.items())


def _merged(params: Sequence[tuple[str, str]], extra: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Add fields to fields; of one name only the added stays."""
    replaced = {name for name, _ in extra}
    return [*(pair for pair in params if pair[0] not in replaced), *extra]


def _joined(base: str, url: str) -> str:
    """Resolve a document's address; one that is malformed stays as it is, for whoever would call it to refuse."""
    try:
        return urljoin(base, url)
    except ValueError:
        return url


def _method(text: str) -> Method:
    return "GET" if text.upper() == "GET" else "POST"


def _cookie_expiry(max_age: str, expires: str, now: datetime) -> datetime:
    if max_age:
        try:
            return now + timedelta(seconds=int(max_age))
        except (ValueError, OverflowError):
            return now + COOKIE_LIFE
    if expires:
        try:
            at = parsedate_to_datetime(expires)
        except (TypeError, ValueError, OverflowError):
            return now + COOKIE_LIFE
        # "-0000" says that the zone is not known.
        return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return now + COOKIE_LIFE
