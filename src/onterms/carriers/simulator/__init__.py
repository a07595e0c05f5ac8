"""The simulator carrier: virtual handsets behind the port of real carriers, and faults on demand."""

from onterms.carriers.simulator.api import SimulatorApi
from onterms.carriers.simulator.carrier import NumbersOwned, SimulatorCarrier
from onterms.carriers.simulator.faults import Faults, FaultyCallbacks
from onterms.carriers.simulator.whatsapp import WhatsAppNetwork, sign

__all__ = [
    "Faults",
    "FaultyCallbacks",
    "NumbersOwned",
    "SimulatorApi",
    "SimulatorCarrier",
    "WhatsAppNetwork",
    "sign",
]
