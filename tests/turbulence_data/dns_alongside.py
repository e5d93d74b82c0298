"""A closure that knows the truth: the subgrid forcing of a DNS that runs alongside."""

from turbulence_data.solver import Simulation


class DNSAlongside:
    """The true sgs_forcing at the stages of RK4, from a DNS that takes half steps.

    The LES asks four times a step: at its start, twice in its middle, at its end.
    `forcing_of` gives the sgs_forcing of a field of the DNS.
    """

    def __init__(self, field, flow, time_step, forcing_of):
        self.simulation, self.forcing_of = Simulation(flow), forcing_of
        self.state = self.simulation.start(field)
        self.time_step, self.calls = time_step, 0
        self.true_forcing = self.look()

    def look(self):
        return self.forcing_of(self.simulation.vorticity(self.state))

    def __call__(self, vorticity, streamfunction):
        stage = self.calls % 4
        if stage in (1, 3):  # quarter steps, so that its own error is 256 times less
            half, quarter = 0.5 * self.time_step, 0.125 * self.time_step
            self.state = self.simulation.advance(self.state, half, quarter)
            self.true_forcing = self.look()
        self.calls += 1
        return self.true_forcing
