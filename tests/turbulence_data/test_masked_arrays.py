"""Arrays with masked values, which NumPy would use as if they were not masked."""

import numpy as np
import pytest

import turbulence_data as td
from turbulence_data import closures, coarsening, diagnostics, symmetries
from turbulence_data.a_posteriori._statistics import correlations
from turbulence_data.solver._equation import evaluate

FLOW = td.FlowConfig(16, reynolds=100.0, forcing_wavenumber=None)
LAYERS = td.TwoLayerConfig(16, 15e3, beta=1.5e-11, bottom_drag=5.787e-7)
X = np.arange(16) * 2 * np.pi / 16
FIELD = np.cos(X)[:, None] * np.sin(2 * X)
SAMPLES = np.stack([FIELD, FIELD], axis=-1)[None]
NORMALIZED = td.Normalization.from_arrays

CALLS = {
    "evolve": lambda f: td.evolve(f, FLOW, 0.02),
    "several": lambda f: td.Simulation(FLOW).start(f[None]),
    "layers": lambda f: td.evolve(np.ma.stack([f, f]), LAYERS, 60.0),
    "filtered_dns": lambda f: td.filtered_dns(f, 8),
    "stresses": lambda f: td.subgrid_stresses(f, 8),
    "coarse": lambda f: next(iter(coarsening.OPERATORS.values()))(f, 8, FLOW.lengths),
    "energy_spectrum": td.energy_spectrum,
    "enstrophy": diagnostics.enstrophy,
    "classic closure": lambda f: closures.Smagorinsky()(f, FIELD),
    "gradient model by layer": lambda f: closures.ByLayer(closures.GradientModel2())(
        np.ma.stack([f, f]), np.stack([FIELD, FIELD])
    ),
    "first argument": lambda f: evaluate(lambda w, psi: psi, f, FIELD),
    "second argument": lambda f: evaluate(lambda w, psi: w, FIELD, f),
    "what a closure returns": lambda f: evaluate(lambda w, psi: f, FIELD, FIELD),
    "inputs": lambda f: NORMALIZED(np.ma.stack([f, f], -1)[None], SAMPLES[..., :1]),
    "outputs": lambda f: NORMALIZED(SAMPLES, f[None, ..., None]),
    "examples": lambda f: td.to_arrays(
        [{"streamfunction": FIELD, "vorticity": f, "sgs_forcing": FIELD}]
    ),
    "conventions": lambda f: td.interchange.check_conventions(
        [{"streamfunction": f, "vorticity": 5.0 * FIELD, "sgs_forcing": FIELD}]
    ),
    "symmetry": lambda f: symmetries.of(FLOW, 16)[-1](f[None, ..., None], SAMPLES),
    "correlation": lambda f: correlations(f, FIELD),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
def test_masked_values_are_refused_and_unmasked_arrays_taken(call):
    with pytest.raises(ValueError, match=r"masked NumPy array, whose mask would be"):
        call(np.ma.masked_array(FIELD, np.abs(FIELD) > 0.9))
    call(np.ma.masked_array(FIELD, np.zeros(FIELD.shape, bool)))
