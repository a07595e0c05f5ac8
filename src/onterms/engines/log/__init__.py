"""The append-only event log: what happened, in order, for timelines, consumers with a cursor and live pages.

Theory of operation
-------------------

`append` writes events with the transaction of what they tell, so an event is there exactly when its fact is. `id` grows
with each insert and orders one subject's timeline. It does not order commits: a transaction may take id 5, another take
and commit 6, and a reader that had moved on past 6 would never see 5. So consumers read by (txid, id) and only below
the horizon, the oldest transaction that is still running: everything below it is final, and whatever commits later has
a txid at or above it. A consumer's position is such a pair. The price is that a long writing transaction holds readers
back; reading transactions have no id and do not.

`txid` is PostgreSQL's transaction id plus `log_epoch.base`. Restoring a dump into another cluster starts the ids again;
`ensure_partitions` then raises the base above every row there is. Run it at each start, before anything is appended.

The table is partitioned by id, not by day, for ids only grow while a virtual clock may put `at` anywhere: no insert
can miss its partition, and a timeline looks into as few indexes as there are times 10 million events.
"""

from onterms.engines.log.live import Gap, Live, Subscription
from onterms.engines.log.model import Event, Position, Recorded, batched
from onterms.engines.log.store import advance, append, appending, ensure_partitions, read, start_at_end, timeline

__all__ = [
    "Event",
    "Gap",
    "Live",
    "Position",
    "Recorded",
    "Subscription",
    "advance",
    "append",
    "appending",
    "batched",
    "ensure_partitions",
    "read",
    "start_at_end",
    "timeline",
]
