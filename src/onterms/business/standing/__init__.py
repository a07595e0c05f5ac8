"""What keeps customers from using the services, and what their accounts may do: the door."""

from onterms.business.standing.api import Api
from onterms.business.standing.errors import BlockDiffers, StandingRefusal
from onterms.business.standing.events import STANDING_BLOCKED, STANDING_LIFTED, STANDING_RESUMED
from onterms.business.standing.model import (
    CLEAR,
    MOVES,
    WHOLE_CUSTOMER,
    Block,
    Kind,
    Reason,
    Scope,
    StandingState,
    refusal_to_create,
    refusal_to_send,
    require_can_create_account,
    require_can_send,
    state_of,
)
from onterms.business.standing.service.blocks import blocks_of, lift, set_block, states
from onterms.business.standing.service.cache import Standing

__all__ = [
    "CLEAR",
    "MOVES",
    "STANDING_BLOCKED",
    "STANDING_LIFTED",
    "STANDING_RESUMED",
    "WHOLE_CUSTOMER",
    "Api",
    "Block",
    "BlockDiffers",
    "Kind",
    "Reason",
    "Scope",
    "Standing",
    "StandingRefusal",
    "StandingState",
    "blocks_of",
    "lift",
    "refusal_to_create",
    "refusal_to_send",
    "require_can_create_account",
    "require_can_send",
    "set_block",
    "state_of",
    "states",
]
