"""The routes of the operator's pages: who comes in, what is rendered, which forms are believed."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import jinja2

from onterms.app.operator_pages import formats, views
from onterms.app.operator_pages.desk import Desk
from onterms.app.operator_pages.shown import Act, File, Shown, View
from onterms.app.page import Sessions
from onterms.core.clock import Clock
from onterms.core.db import Database
from onterms.core.errors import AuthenticationFailed, Forbidden, NotFound, Refusal
from onterms.engines.api import OwnReply, OwnRequest, OwnRoute

_HERE: Final = Path(__file__).parent
_TYPES: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_FORM_BYTES_MAX: Final = 256 * 1024
_SECURITY: Final = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    # With no referrer at all a browser hides the origin of its forms, and we want to see it.
    ("Referrer-Policy", "same-origin"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
_FRESH: Final = (*_SECURITY, ("Cache-Control", "no-store"))
_LASTING: Final = (*_SECURITY, ("Cache-Control", "public, max-age=31536000, immutable"))
_HOME: Final = "/operator/"

# What was done, by the word in the address that a form leads to; words of an address itself are never shown.
DONE: Final = {
    "resolved": "The dispute is decided.",
    "asked": "The customer is asked.",
    "determined": "The determination is recorded.",
    "proposed": "The suspension is proposed. Nothing has happened to the customer yet.",
    "moved": "Done.",
    "approve": "Approved. The notice can be given.",
    "notice": "The notice is on its way. The suspension takes effect after it.",
    "lift": "The suspension is lifted.",
    "withdraw": "Withdrawn.",
    "decided": "The decision is recorded.",
    "clock": "The clock moved.",
    "clock_short": "The clock moved part of the way: there is much to do. Move it again.",
}


class OperatorPages:
    """The pages under `/operator/`.

    Shapes: `sessions` are the first page's, so one key shown opens both; `shared_build` is the address of its style;
    `routes` are all that are mounted.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        sessions: Sessions,
        *,
        shared_build: str,
        version: str,
        routes: Callable[[], Sequence[OwnRoute]],
    ) -> None:
        self._database = database
        self._clock = clock
        self._sessions = sessions
        self._desk = Desk(database, routes)
        self._files = {
            path.name: (path.read_bytes(), _TYPES[path.suffix])
            for path in sorted((_HERE / "assets").iterdir())
            if path.suffix in _TYPES
        }
        digest = hashlib.sha256(b"".join(content for content, _ in self._files.values()))
        self._build = digest.hexdigest()[:12]
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(formats.FILTERS)
        self._templates.globals.update(build=self._build, shared=shared_build, release=version)

    def routes(self) -> list[OwnRoute]:
        """List the routes."""
        routes = [
            self._route("GET", "/operator/assets/{build}/{name}", self.asset, "What the operator's pages are made of"),
            self._route("GET", "/operator/sign-in", self.ask_for_key, "The operator's sign-in"),
            self._route("POST", "/operator/sign-in", self.sign_in, "Sign in to the operator's pages"),
            self._route("POST", "/operator/sign-out", self.sign_out, "Sign out of the operator's pages"),
        ]
        for page in views.PAGES:
            routes.append(self._route("GET", page.path, self._page(page.view), page.summary))
        for file in views.FILES:
            routes.append(self._route("GET", file.path, self._file(file.view), file.summary))
        for form in views.FORMS:
            routes.append(self._route("POST", form.path, self._form(form.act, form.view), form.summary))
        return routes

    def _route(
        self, method: str, path: str, handler: Callable[[OwnRequest], Awaitable[OwnReply]], summary: str
    ) -> OwnRoute:
        return OwnRoute(
            method,
            path,
            "open",
            free_handler=handler,
            body_bytes_max=_FORM_BYTES_MAX,
            summary=summary,
            takes_form=method == "POST",
        )

    # ---- coming in

    async def ask_for_key(self, request: OwnRequest) -> OwnReply:
        """Show the sign-in, or the first page to whoever is in already."""
        return _to(_HOME) if request.operator else self._sign_in_page(request.query.get("next", _HOME))

    async def sign_in(self, request: OwnRequest) -> OwnReply:
        """Let in whoever knows the operator key."""
        following = inside(request.body.get("next"))
        try:
            cookie = await self._sessions.open(request)
        except Refusal as refusal:
            # A key is not a credential of the request, so the browser must not ask for one.
            return self._sign_in_page(following, refusal)
        return _to(following, cookie)

    async def sign_out(self, request: OwnRequest) -> OwnReply:
        """End the session in this browser."""
        if not request.operator:
            return _to("/operator/sign-in")
        self._require_token(request)
        return _to("/operator/sign-in", self._sessions.close(request))

    def _sign_in_page(self, following: str, refusal: Refusal | None = None) -> OwnReply:
        shown = self._templates.get_template("sign_in.html").render(
            following=inside(following), problem=refusal.message if refusal else None
        )
        return _html(shown, refusal.status if refusal else 200, refusal.headers if refusal else ())

    def _require_token(self, request: OwnRequest) -> None:
        if not self._sessions.is_form_token(request.headers, request.body.get("token")):
            raise Forbidden("This form did not come from your session. Open the page again and send it from there.")

    # ---- pages

    async def asset(self, request: OwnRequest) -> OwnReply:
        """Serve a file of the pages."""
        found = self._files.get(request.path["name"])
        if found is None:
            raise NotFound("There is no such file")
        headers = _LASTING if request.path["build"] == self._build else _FRESH
        return OwnReply(None, headers=headers, raw=found[0], content_type=found[1])

    def _page(self, view: View) -> Callable[[OwnRequest], Awaitable[OwnReply]]:
        async def show(request: OwnRequest) -> OwnReply:
            if not request.operator:
                return self._sign_in_page(_address(request, view))
            try:
                return self._rendered(request, await self._seen(view, request))
            except Refusal as refusal:
                return self._refused(request, refusal)

        return show

    def _file(self, view: File) -> Callable[[OwnRequest], Awaitable[OwnReply]]:
        async def serve(request: OwnRequest) -> OwnReply:
            if not request.operator:
                return self._sign_in_page(_HOME)
            try:
                async with self._database.transaction() as tx:
                    found = await view(self._desk, tx, request)
            except Refusal as refusal:
                return self._refused(request, refusal)
            headers = (*_FRESH, *found.headers)
            return OwnReply(None, headers=headers, raw=found.raw, content_type=found.content_type)

        return serve

    def _form(self, act: Act, view: View) -> Callable[[OwnRequest], Awaitable[OwnReply]]:
        async def take(request: OwnRequest) -> OwnReply:
            if not request.operator:
                return self._sign_in_page(_HOME, AuthenticationFailed("Sign in to do that"))
            try:
                self._require_token(request)
            except Refusal as refusal:
                return self._refused(request, refusal)
            try:
                done = await act(self._desk, request)
            except Refusal as refusal:
                # The page again, with what was written and why it was not done.
                try:
                    return self._rendered(request, await self._seen(view, request), refusal)
                except Refusal:
                    return self._refused(request, refusal)
            # Reading the page again does not do it again.
            return _to(done)

        return take

    async def _seen(self, view: View, request: OwnRequest) -> Shown:
        async with self._database.transaction() as tx:
            return await view(self._desk, tx, request)

    def _rendered(self, request: OwnRequest, shown: Shown, refusal: Refusal | None = None) -> OwnReply:
        text = self._templates.get_template(shown.template).render(
            shown.data,
            title=shown.title,
            api=[line.command for line in shown.api],
            token=self._sessions.form_token(request.headers),
            # The clock may have moved since the request came.
            now=self._clock.now(),
            form=request.body,
            problem=_words(refusal) if refusal else None,
            done=DONE.get(request.query.get("done", "")),
            section=shown.template.partition(".")[0].partition("_")[0],
        )
        return _html(text, refusal.status if refusal else 200)

    def _refused(self, request: OwnRequest, refusal: Refusal) -> OwnReply:
        title = "Not found" if refusal.status == 404 else "This cannot be shown"
        if request.method == "POST":
            title = "This was not done"
        text = self._templates.get_template("refused.html").render(
            title=title,
            api=[],
            token=self._sessions.form_token(request.headers),
            now=self._clock.now(),
            problem=_words(refusal),
            status=refusal.status,
            done=None,
            form={},
            section="",
        )
        return _html(text, refusal.status)


def _words(refusal: Refusal) -> dict[str, Any]:
    details: Mapping[str, Any] = refusal.details or {}
    return {"message": refusal.message, "clause": details.get("clause"), "code": refusal.code}


def inside(path: object) -> str:
    """Return a path of ours to go on to, never one that leads elsewhere."""
    if isinstance(path, str) and path.startswith(_HOME) and path.isascii() and path.isprintable() and "\\" not in path:
        return path
    return _HOME


def _address(request: OwnRequest, view: View) -> str:
    pattern = next(page.path for page in views.PAGES if page.view is view)
    path = pattern.format_map(request.path)
    query = {name: value for name, value in request.query.items() if name != "done"}
    return inside(f"{path}?{urlencode(query)}" if query else path)


def _to(path: str, *headers: tuple[str, str]) -> OwnReply:
    return OwnReply(
        None, 303, (*_FRESH, ("Location", path), *headers), raw=b"", content_type="text/plain; charset=utf-8"
    )


def _html(text: str, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> OwnReply:
    return OwnReply(None, status, (*_FRESH, *headers), raw=text.encode(), content_type="text/html; charset=utf-8")
