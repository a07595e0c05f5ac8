"""What this room says: events of the log under the account, with the usage trigger as their subject."""

TRIGGER_FIRED = "usage_trigger.fired"
TRIGGER_CALLED = "usage_trigger.called"
