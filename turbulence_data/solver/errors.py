"""What the solver raises when a simulation cannot go on."""

from __future__ import annotations


class UnstableTimeStepError(ValueError):
    """The time step breaks the stability limit of the scheme for the flow's speed."""


class SimulationDivergedError(FloatingPointError):
    """A field stopped being finite; the message says when, and the last good energy."""
