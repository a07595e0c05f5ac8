"""Registrars of senders: the simulator's, which decides by what it reads, and the operator's own desk."""

from onterms.carriers.registrar.api import SimulatedRegistrarApi
from onterms.carriers.registrar.desk import Desk
from onterms.carriers.registrar.networks import SimulatedNetworks
from onterms.carriers.registrar.simulator import SimulatedRegistrar

__all__ = ["Desk", "SimulatedNetworks", "SimulatedRegistrar", "SimulatedRegistrarApi"]
