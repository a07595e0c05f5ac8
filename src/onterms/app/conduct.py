"""What watches over conduct, joined to the running server: who is let through, who is looked at, what is written down.

`Conduct` owns the room of suspensions with all that asks it: the gate before every sending, the witness of every call,
screening after each change of who a customer is, the watch over use, and the scanner of media.
"""

from datetime import datetime
from pathlib import Path

from onterms.business import accounts, agreements, cases, customers, privacy, support, suspension
from onterms.business.standing import Standing
from onterms.business.usage import Meter
from onterms.carriers.clamav import ClamdScanner
from onterms.carriers.geofile import GeoFile
from onterms.core.clock import Clock
from onterms.core.db import Database, Tx
from onterms.core.errors import Forbidden
from onterms.engines import jobs
from onterms.engines.api import Caller, OwnRoute
from onterms.ports.malware_scanner import MalwareScanner, TestFileScanner

# An account changes its customer by an assignment (9.2), which is rare; who has none may agree at any moment.
_OWNER_S = 60.0
_NO_OWNER_S = 5.0
# An attempt from a blocked region is written down once in so long, however often it is made.
_REFUSED_S = 10.0
# Some 200 bytes each.
_REMEMBERED_MAX = 100_000


def scanner_of(clamd: str | None) -> MalwareScanner:
    """Return what looks through media: clamd where there is one, else whatever knows the test file.

    Raises: ConfigError.
    """
    return TestFileScanner() if clamd is None else ClamdScanner(clamd)


def geo_of(path: Path | None) -> suspension.Geo | None:
    """Return what knows where addresses are, where the operator gave a file.

    Raises: ConfigError.
    """
    return None if path is None else GeoFile(path)


class Witness:
    """Sees every call of the services: from where, and that using them accepts terms whose day has come (P.13).

    Reading terms, declining them and the like is no use of the services, so the commercial API asks for the place only.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        texts: agreements.Bindings,
        board: suspension.Board,
        places: suspension.SignInGate | None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._texts = texts
        self._board = board
        self._places = places
        # (customer, good until), by account; and who was refused: (notice, good until), by address.
        self._owners: dict[str, tuple[str | None, float]] = {}
        self._refused: dict[str, tuple[suspension.RegionNotice, float]] = {}
        self._noting: set[str] = set()

    def knows(self, caller: Caller, peer: str | None) -> bool:
        """Tell that nothing has to be noted of this caller now."""
        if not self._is_open(peer):
            return False
        account = caller.account
        # The magic numbers use nothing.
        if account.test:
            return True
        owner = self._owners.get(account.sid)
        if owner is None or owner[1] < self._clock.monotonic():
            return False
        return owner[0] is None or self._texts.is_quiet(owner[0], self._clock.now())

    async def note(self, caller: Caller, peer: str | None, request_id: str) -> None:
        """Note a call.

        Raises: Forbidden from a blocked region.
        """
        await self.require_place(caller, peer)
        account_sid = caller.account.sid
        # Of a crowd the first is enough.
        if caller.account.test or account_sid in self._noting:
            return
        self._noting.add(account_sid)
        try:
            async with self._database.transaction() as tx:
                customer = await customers.customer_of(tx, account_sid)
                if customer is not None:
                    await self._texts.note_use(tx, customer.sid, request_id, self._clock.now(), ip=peer or "")
        finally:
            self._noting.discard(account_sid)
        if len(self._owners) >= _REMEMBERED_MAX:
            self._owners.clear()
        now_s = self._clock.monotonic()
        if customer is None:
            self._owners[account_sid] = (None, now_s + _NO_OWNER_S)
        else:
            self._owners[account_sid] = (customer.sid, now_s + _OWNER_S)

    async def require_place(self, caller: Caller, peer: str | None) -> None:
        """Refuse who calls from a blocked region, having written it down (5.2).

        Raises: Forbidden.
        """
        if self._is_open(peer):
            return
        assert self._places is not None and peer is not None, "everything is open without them"
        now_s = self._clock.monotonic()
        notice, until_s = self._refused.get(peer, (None, 0.0))
        # Where memory knows nothing just now, what was blocked may be open again.
        if until_s < now_s or self._board.known is None:
            async with self._database.transaction() as tx:
                notice = await self._places.check(tx, peer, caller.account.sid, self._clock.now())
            if len(self._refused) >= _REMEMBERED_MAX:
                self._refused.clear()
            if notice is not None:
                self._refused[peer] = (notice, now_s + _REFUSED_S)
        if notice is not None:
            details = {"clause": "5.2", "reason": "region_blocked", "country": notice.country}
            raise Forbidden(notice.text, details=details)

    def _is_open(self, peer: str | None) -> bool:
        if self._places is None or peer is None:
            return True
        posted = self._board.known
        return posted is not None and self._places.is_open(posted, peer, self._clock.now())


class Conduct:
    """The rooms that watch over conduct, of one running process."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        meter: Meter,
        standing: Standing,
        texts: agreements.Bindings,
        *,
        scanner: MalwareScanner | None = None,
        geo: suspension.Geo | None = None,
    ) -> None:
        suspensions = self.suspensions = suspension.Suspensions(cases.MailedNotices(), accounts.revoke_keys)
        self.screening = suspension.Screening(suspensions)
        admission = suspension.Admission(suspensions, has_consent=privacy.has_consent)
        self.board = suspension.Board(database, suspensions.book, admission.licences)
        admission.keep_posted(self.board)
        self.screening.marked.append(self.board.marked)
        self.watch = suspension.Watch(suspensions.reviews)
        self.gate = suspension.Gate(admission, standing, meter, self.watch)
        # Whatever cannot be scanned waits (2.1(e)): an outage of the scanner must not be a way in.
        self.media_gate = support.MediaGate(scanner or TestFileScanner())
        places = None if geo is None else suspension.SignInGate(geo)
        self.witness = Witness(database, clock, texts, self.board, places)
        self._api = suspension.Api(suspensions, self.screening, admission)
        self._tasks = suspension.Tasks(admission, self.screening, self.watch)

    def register(self, worker: jobs.Worker) -> None:
        """Serve the jobs; before the worker runs."""
        self._tasks.register(worker)

    def books(self) -> list[cases.Book]:
        """Return the books of cases, for the worker of deadlines."""
        return self._api.books()

    def routes(self) -> list[OwnRoute]:
        """Return the routes under /commercial/v1."""
        return self._api.routes()

    async def look_at_customer(self, tx: Tx, customer_sid: str, at: datetime) -> None:
        """Compare a new or changed customer with the lists of sanctions (5.2)."""
        await self.screening.screen(tx, customer_sid, at)
