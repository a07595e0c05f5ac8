"""Notices between operator and customers with their evidence, and the operator's tasks: the door."""

from onterms.business.notices.api import Api
from onterms.business.notices.errors import NoticeMissing, TaskDone
from onterms.business.notices.events import NOTICE_BOUNCED, NOTICE_GIVEN, NOTICE_RECEIVED, NOTICE_VOIDED
from onterms.business.notices.model import (
    MOVES,
    Address,
    File,
    Move,
    NewNotice,
    NewNoticeIn,
    Notice,
    NoticeIn,
    Task,
    verdict,
)
from onterms.business.notices.service.delivery import (
    Contacts,
    CustomerOfSender,
    Delivery,
    Follower,
    Letterhead,
)
from onterms.business.notices.service.notices import (
    assign,
    fetch,
    fetch_in,
    given_on,
    list_in,
    list_notices,
    received,
    require_given,
    send,
)
from onterms.business.notices.service.operator_tasks import close_task, list_tasks, open_task
from onterms.business.notices.tasks import Tasks

__all__ = [
    "MOVES",
    "NOTICE_BOUNCED",
    "NOTICE_GIVEN",
    "NOTICE_RECEIVED",
    "NOTICE_VOIDED",
    "Address",
    "Api",
    "Contacts",
    "CustomerOfSender",
    "Delivery",
    "File",
    "Follower",
    "Letterhead",
    "Move",
    "NewNotice",
    "NewNoticeIn",
    "Notice",
    "NoticeIn",
    "NoticeMissing",
    "Task",
    "TaskDone",
    "Tasks",
    "assign",
    "close_task",
    "fetch",
    "fetch_in",
    "given_on",
    "list_in",
    "list_notices",
    "list_tasks",
    "open_task",
    "received",
    "require_given",
    "send",
    "verdict",
]
