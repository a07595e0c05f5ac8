"""Durable jobs: enqueue them with the transaction that needs them, run them in batches. See worker.py for how."""

from onterms.engines.jobs.model import Backoff, DeadLetter, Depth, Job, LeaseLost, NewJob
from onterms.engines.jobs.queue import cancel, dead_letters, depth, enqueue, enqueuing, pending, replay, set_rate
from onterms.engines.jobs.stepping import Stepper
from onterms.engines.jobs.worker import Handler, Run, Worker, WorkerSettings

__all__ = [
    "Backoff",
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
    "cancel",
    "dead_letters",
    "depth",
    "enqueue",
    "enqueuing",
    "pending",
    "replay",
    "set_rate",
]
