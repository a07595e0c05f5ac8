"""Durable jobs: enqueue them with the transaction that needs them, run them in batches. See worker.py for how."""

from onterms.engines.jobs.model import Backoff, DeadLetter, Depth, Job, LeaseLost, NewJob
from onterms.engines.jobs.places import (
    Bucket,
    buckets_of,
    drop_queues,
    end_rate,
    keys_like,
    lock_buckets,
    longest,
    next_places,
    place_anew,
    set_rate,
    taking,
    waiting_in,
)
from onterms.engines.jobs.queue import cancel, dead_letters, depth, enqueue, enqueuing, pending, replay
from onterms.engines.jobs.stepping import Stepper
from onterms.engines.jobs.worker import Handler, Run, Worker, WorkerSettings

__all__ = [
    "Backoff",
    "Bucket",
    "DeadLetter",
    "Depth",
    "Handler",
    "Job",
    "LeaseLost",
    "NewJob",
    "Run",
    "Stepper",
    "Worker",
    "WorkerSettings",
    "buckets_of",
    "cancel",
    "dead_letters",
    "depth",
    "drop_queues",
    "end_rate",
    "enqueue",
    "enqueuing",
    "keys_like",
    "lock_buckets",
    "longest",
    "next_places",
    "pending",
    "place_anew",
    "replay",
    "set_rate",
    "taking",
    "waiting_in",
]
