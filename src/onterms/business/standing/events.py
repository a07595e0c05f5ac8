"""What this room says: events of the log under the customer's SID, with the block as their subject."""

STANDING_BLOCKED = "standing.blocked"
STANDING_LIFTED = "standing.lifted"
# The last block that covered what was blocked is gone.
STANDING_RESUMED = "standing.resumed"
