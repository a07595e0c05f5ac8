"""Trust: who customers are, as reviewers see it: profiles, what they are made of, and their approval."""

from onterms.products.trust.api import Api
from onterms.products.trust.model.policies import A2P, A2P_STARTER, PRIMARY, SECONDARY, STARTER
from onterms.products.trust.service.bundles import Profile, Surroundings, fire, mail_job, profile
from onterms.products.trust.store import account_of, waiting
from onterms.products.trust.tasks import Outside, Tasks

__all__ = [
    "A2P",
    "A2P_STARTER",
    "PRIMARY",
    "SECONDARY",
    "STARTER",
    "Api",
    "Outside",
    "Profile",
    "Surroundings",
    "Tasks",
    "account_of",
    "fire",
    "mail_job",
    "profile",
    "waiting",
]
