"""What a score on held-out samples rests on, and what it would be on others of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from keras_spectral_tl.metrics import pattern_correlation
from keras_spectral_tl.spectra import radial_spectrum

Array = NDArray[np.float64]

# Of squares of single precision outputs, relative.
_ROUND_OFF = 1e-11


def held_out_evidence(
    truth: Array, predictions: Array, axes: tuple[int, ...] = ()
) -> dict[str, Any]:
    """Compares predictions of more and more changed networks with the truth.

    Args:
        truth: shape `(samples, ...)`.
        predictions: shape `(steps, samples, ...)`, the unchanged network first.
        axes: of the truth that are space; none where it is no field.

    Returns:
        error_removed: share of the error that no gain removes which the last step does.
        error_by_step: what is left of that error after each step, 1 at first.
        cc_by_step: mean pattern correlation after each step.
        moments_before, moments_after: shape (samples, 3), see `moments`.
        residual_spectrum_before, residual_spectrum_after: mean spectrum of the error
            (shell SUM over `[k - 1/2, k + 1/2)`) that the best gain leaves, where
            outputs are fields.
    """
    by_step = [moments(truth, step) for step in predictions]
    errors = [float(unexplained(step[None])[0]) for step in by_step]
    # Nothing to remove: a model that is right to round-off gains nothing.
    floor = _ROUND_OFF * float(np.sum(truth**2))
    left = [error / errors[0] if errors[0] > floor else 1.0 for error in errors]
    evidence: dict[str, Any] = {
        "error_removed": 1.0 - left[-1],
        "error_by_step": np.array(left),
        "cc_by_step": np.array([pattern_correlation(truth, p) for p in predictions]),
        "moments_before": by_step[0],
        "moments_after": by_step[-1],
    }
    if axes:
        for key, step, sums in (
            ("before", predictions[0], by_step[0]),
            ("after", predictions[-1], by_step[-1]),
        ):
            _, cross, square = sums.sum(axis=0)
            error = truth - (cross / square if square > 0.0 else 0.0) * step
            spectra = radial_spectrum(error, axes=axes)
            evidence[f"residual_spectrum_{key}"] = spectra.mean(axis=(0, 1))
    return evidence


def moments(truth: Array, prediction: Array) -> Array:
    """Returns `<y, y>, <y, q>, <q, q>` of each sample, shape (samples, 3)."""
    y, q = truth.reshape(len(truth), -1), prediction.reshape(len(truth), -1)
    return np.stack([np.sum(a * b, axis=1) for a, b in ((y, y), (y, q), (q, q))], 1)


def unexplained(sums: Array) -> Array:
    """Returns `min over a of |y - a q|^2` from moments.

    Args:
        sums: shape (draws, samples, 3); the samples of a draw are taken together.
    """
    square, cross, power = np.moveaxis(np.sum(sums, axis=1), -1, 0)
    explained = np.divide(cross**2, power, out=np.zeros_like(power), where=power > 0.0)
    left: Array = np.maximum(square - explained, 0.0)
    return left


def least_removed(evidence: Mapping[str, Any], level: float) -> float:
    """Returns the share of the error that a change removes at least, with confidence.

        share - t(1 - level; m - 1) * s

    with s the standard error of the share by the jackknife over the m samples tested
    and t the quantile of Student's distribution. Of K changes, the best one exceeds the
    bound of `level / K` by chance no more often than `level` (Bonferroni).

    Args:
        evidence: with `moments_before` and `moments_after`.
        level: chance of being wrong, for one change.
    """
    before, after = evidence["moments_before"], evidence["moments_after"]
    count = len(before)
    if count < 2:
        return -np.inf
    everyone = np.arange(count)
    draws = [everyone] + [np.delete(everyone, one) for one in everyone]
    total, left = (
        np.array([float(unexplained(sums[None, draw])[0]) for draw in draws])
        for sums in (before, after)
    )
    shares = 1.0 - np.divide(left, total, out=np.ones_like(left), where=total > 0.0)
    spread = shares[1:] - shares[1:].mean()
    error = np.sqrt((count - 1) / count * np.sum(spread**2))
    return float(shares[0] - special.stdtrit(count - 1, 1.0 - level) * error)
