"""What this room says: events of the log under the customer's SID, with the notice as their subject."""

NOTICE_GIVEN = "notice.given"
# Clocks that hang on the notice stop.
NOTICE_VOIDED = "notice.voided"
NOTICE_BOUNCED = "notice.bounced"
NOTICE_RECEIVED = "notice.received"
