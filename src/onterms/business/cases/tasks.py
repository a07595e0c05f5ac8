"""The room's durable steps: deadlines of cases."""

from collections.abc import Iterable

from onterms.business.cases.service import DEADLINE_TASK, Book
from onterms.engines import jobs


class Tasks:
    """The handler of every machine's deadlines."""

    def __init__(self, books: Iterable[Book]) -> None:
        self._books: dict[str, Book] = {}
        for book in books:
            if book.machine.kind in self._books:
                raise ValueError(f"two books keep the cases of {book.machine.kind}")
            self._books[book.machine.kind] = book

    def register(self, worker: jobs.Worker) -> None:
        """Serve the room's jobs; before the worker runs."""
        worker.register(DEADLINE_TASK, self._due)

    async def _due(self, run: jobs.Run, due: list[jobs.Job]) -> None:
        # One transaction each: a case whose move is refused must not hold up the others.
        for job in due:
            async with run.transaction() as tx:
                said = job.payload
                book = self._books.get(said["kind"])
                if book is None:
                    await run.bury(tx, job, f"no book keeps the cases of {said['kind']}")
                    continue
                now = run.clock.now()
                await book.due(tx, said["customer_sid"], said["sid"], said["event"], said["version"], now)
                await run.complete(tx, [job])
