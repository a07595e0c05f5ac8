"""Cases: what takes several steps between operator and customer, each kind a table of moves. The door.

Theory of operation
-------------------

A kind of case is a `Machine`: a table `(state, event) -> Move` with the guard, the effects, the next state, who may do
it and which facts it takes. A `Book` keeps the cases of one machine: each move is checked by the table, stored with a
version, audited in the customer's chain, told in the log and followed by its effects, all in the caller's transaction.
A state with a deadline has a job that carries the version, so a case that moved on lets it pass.
"""

from onterms.business.cases.api import book_of, operator_routes, routes
from onterms.business.cases.model import Actor, Case, Machine, Move, Role, Violation
from onterms.business.cases.service import (
    CHANNEL,
    CUSTOMER,
    OPERATOR,
    SYSTEM,
    Book,
    Effect,
    MailedNotices,
    Notices,
    actor_of_request,
)
from onterms.business.cases.tasks import Tasks

__all__ = [
    "CHANNEL",
    "CUSTOMER",
    "OPERATOR",
    "SYSTEM",
    "Actor",
    "Book",
    "Case",
    "Effect",
    "Machine",
    "MailedNotices",
    "Move",
    "Notices",
    "Role",
    "Tasks",
    "Violation",
    "actor_of_request",
    "book_of",
    "operator_routes",
    "routes",
]
