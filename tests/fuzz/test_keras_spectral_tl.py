"""Whatever is passed to it, `keras_spectral_tl` answers with a documented error."""

import re
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_spectral_tl import (
    callbacks,
    closure,
    freezing,
    layers,
    losses,
    metrics,
    models,
    scoring,
    spectra,
    transfer,
)  # fmt: skip
from keras_spectral_tl.spectra._fields import cross_spectrum
from tests.fuzz.junk import DOCUMENTED, call, fuzz

RNG = np.random.default_rng(0)
FIELDS, OTHERS = RNG.normal(size=(2, 2, 8, 8, 1))
KERNELS = RNG.normal(size=(3, 3, 2, 2))
PAIR = {"y_true": FIELDS, "y_pred": OTHERS}
SPECTRUM = np.array([1.0, 2.0, 3.0])
MODEL = models.build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
DATA = (RNG.normal(size=(4, 3)), RNG.normal(size=(4, 1)))
CHANNELS = ((0.0, 0.0), (1.0, 1.0))
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "metrics.pattern_correlation": (metrics.pattern_correlation, PAIR),
    "metrics.relative_rmse": (metrics.relative_rmse, PAIR),
    "metrics.least_squares_gain": (metrics.least_squares_gain, PAIR),
    "metrics.conditioned_correlation": (
        metrics.conditioned_correlation, {**PAIR, "condition": FIELDS > 0},
    ),
    "metrics.SpectrumRMSE": (
        metrics.SpectrumRMSE, {"wavenumbers": [1, 2], "data_format": "channels_last"},
    ),
    "metrics.TransferCorrelation": (
        metrics.TransferCorrelation,
        {"direction": "forward", "data_format": "channels_last"},
    ),
    "losses.SpectralLoss": (
        losses.SpectralLoss,
        {
            "mismatch": losses.squared_log_ratio, "wavenumbers": (1, None),
            "weights": None, "floor": 1e-6, "data_format": "channels_last",
        },
    ),
    "spectra.spectrum_rmse": (
        spectra.spectrum_rmse, {**PAIR, "axes": (1, 2), "wavenumbers": None},
    ),
    "spectra.coherence": (spectra.coherence, {**PAIR, "axes": (1, 2)}),
    "spectra.spectral_ratio": (
        spectra.spectral_ratio, {"above": SPECTRUM, "below": SPECTRUM[::-1]},
    ),
    "spectra.spectral_shift": (
        spectra.spectral_shift,
        {"base": {"a": SPECTRUM}, "target": {"a": SPECTRUM[::-1]}},
    ),
    "spectra.radial_spectrum": (
        spectra.radial_spectrum, {"field": FIELDS[..., 0], "axes": (-2, -1)},
    ),
    "spectra.cross_spectrum": (
        cross_spectrum,
        {"first": FIELDS[..., 0], "second": OTHERS[..., 0], "axes": (-2, -1)},
    ),
    "spectra.kernel_spectra": (
        spectra.kernel_spectra, {"model": MODEL, "num_points": 8},
    ),
    "spectra.kernel_shapes": (
        spectra.kernel_shapes, {"kernels": KERNELS, "dilation": (1, 1)},
    ),
    "spectra.classify_kernels": (
        spectra.classify_kernels, {"kernels": KERNELS, "dilation": (1, 1)},
    ),
    "models.build_sgs_cnn": (
        models.build_sgs_cnn,
        {
            "input_shape": (8, 8, 2), "num_layers": 1, "num_filters": 1,
            "kernel_size": 3, "periodic": True,
        },
    ),
    "freezing.Depth": (freezing.Depth, {"first": 1, "last": 2}),
    "freezing.LowRankOf": (freezing.LowRankOf, {"layers": "conv_1", "rank": 2}),
    "transfer.ChannelStatistics": (
        transfer.ChannelStatistics,
        {
            "x_mean": CHANNELS[0], "x_std": CHANNELS[1], "y_mean": (0.0,),
            "y_std": (1.0,),
        },
    ),
    "transfer.ChannelStatistics.of": (transfer.ChannelStatistics.of, {"data": DATA}),
    "transfer.Samples.of": (transfer.Samples.of, {"data": DATA}),
    "transfer.HeldOutStopping": (
        transfer.HeldOutStopping, {"fraction": 0.25, "patience": 5, "min_delta": 0.0},
    ),
    "transfer.LearningRates": (
        transfer.LearningRates, {"factors": {"conv_1": 0.1}, "default": 1.0},
    ),
    "transfer.RetrainOptions": (
        transfer.RetrainOptions,
        {
            "seed": 0, "fit_options": {"epochs": 2}, "compile_options": {},
            "early_stopping": None, "learning_rates": None,
            "optimizer_state_from": None,
        },
    ),
    "callbacks.LayerByLayer": (
        callbacks.LayerByLayer,
        {"change": "unfreeze_from_top", "every_n_epochs": 1},
    ),
    "callbacks.FreezeLayers": (callbacks.FreezeLayers, {"schedule": {0: "conv_1"}}),
    "callbacks.NextPhaseOnPlateau": (
        callbacks.NextPhaseOnPlateau,
        {
            "selectors": ["conv_1", None], "monitor": "loss", "patience": 1,
            "min_delta": 0.0, "mode": "min",
        },
    ),
    "callbacks.KernelSpectra": (
        callbacks.KernelSpectra,
        {"num_points": 8, "every_n_epochs": 1, "most_share": 0.01},
    ),
    "callbacks.ActivationSpectra": (
        callbacks.ActivationSpectra,
        {"x": FIELDS, "every_n_epochs": 1, "layers": ["conv_1"], "most_share": 0.01},
    ),
    "layers.PeriodicConv2D": (
        layers.PeriodicConv2D, {"filters": 2, "kernel_size": 3, "strides": (1, 1)},
    ),
    **{
        f"layers.PeriodicPadding{rank}D": (
            getattr(layers, f"PeriodicPadding{rank}D"),
            {"padding": 1, "data_format": "channels_last"},
        )
        for rank in (1, 2, 3)
    },
    "layers.RadialSpectrum2D": (
        layers.RadialSpectrum2D, {"data_format": "channels_last"},
    ),
    "closure.KerasClosure": (
        closure.KerasClosure,
        {
            "model": MODEL,
            "statistics": dict.fromkeys(
                ("streamfunction", "vorticity", "sgs_forcing"), (0.0, 2.0)
            ),
        },
    ),
    "scoring.HeldOutRetraining": (
        scoring.HeldOutRetraining,
        {"steps": 2, "learning_rate": 1e-3, "batch_size": 2, "num_tested": 2},
    ),
}  # fmt: skip
SELECTORS = st.one_of(
    st.sampled_from(["conv_1", "conv_", "", "conv_1/kernel", 0, -1, 7, True, None]),
    st.sampled_from([slice(1), slice(9, 1), re.compile("conv"), re.compile("no")]),
    st.sampled_from([keras.layers.Dense, layers.PeriodicConv2D, freezing.BiasesOf()]),
    st.sampled_from([freezing.Depth(1), freezing.Depth(5), freezing.KernelsOf("x")]),
    st.sampled_from([lambda layer: "2" in layer.name, lambda layer: 1 / 0, {}, 0.5]),
)


@pytest.mark.parametrize("name", CASES)
def test_only_documented_errors(name):
    fuzz(f"keras_spectral_tl.{name}", *CASES[name])


@given(selector=SELECTORS | st.lists(SELECTORS, max_size=3))
def test_selectors(selector):
    errors = (*DOCUMENTED, KeyError, ZeroDivisionError)  # the last is the caller's own
    arguments = {"model": MODEL, "selector": selector}
    name = "keras_spectral_tl.freezing.select_layers"
    call(name, freezing.select_layers, arguments, errors)
