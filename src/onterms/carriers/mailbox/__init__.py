"""The simulator's mailboxes: a mail server for every address there is, whose mails can be read and made to bounce."""

from onterms.carriers.mailbox.api import MailboxApi
from onterms.carriers.mailbox.mailbox import Mailbox

__all__ = ["Mailbox", "MailboxApi"]
