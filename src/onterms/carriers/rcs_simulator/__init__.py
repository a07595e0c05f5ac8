"""The RCS platform of a sandbox: the upstream's own requests and pushes, and handsets that show cards and tap them."""

from onterms.carriers.rcs_simulator.api import RcsSimulatorApi
from onterms.carriers.rcs_simulator.platform import Push, RcsSimulator

__all__ = ["Push", "RcsSimulator", "RcsSimulatorApi"]
