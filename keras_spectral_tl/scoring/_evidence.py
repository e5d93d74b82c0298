"""Error reduction on held-out samples, with standard errors and confidence bounds."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import special

from keras_spectral_tl.metrics import pattern_correlation
from keras_spectral_tl.metrics._functions import are_numbers
from keras_spectral_tl.scoring._holdout import Array
from keras_spectral_tl.spectra import radial_spectrum

# Probability beyond either end of a 90 % interval.
LEVEL = 0.05
# Standard error of a mean correlation c over fewer than three samples, over 1 - c.
FEW = 0.15
# Amplitudes within the first factor are right; smaller correlations are no pattern.
NEAR_ONE, PATTERN = 1.25, 0.1
# Relative round-off of squares of single-precision outputs.
_ROUND_OFF = 1e-11


def held_out_evidence(
    truth: Array,
    predictions: Array,
    axes: tuple[int, ...] = (),
    weight: Array | None = None,
    offset: bool = True,
    groups: Any = None,
) -> dict[str, Any]:
    """Compare the predictions of a network before and during training with the truth.

    All errors are those after the best gain (and offset), see `unexplained`. The truth
    is (samples, ...), predictions are (steps, samples, ...), first of the unchanged
    network. `axes` are the spatial ones of the truth, if it is a field, and `weight`,
    that of each point, broadcasts with it. The samples of one of the `groups` (labels)
    are not independent, so their sums are added.

    Returns:
        error_removed: Fraction of the error that the last step removes.
        error_by_step: Fraction of the error left after each step, initially 1.
        cc_by_step: Mean pattern correlation after each step; nan if a sample has only
            one value or none that counts.
        moments_before, moments_after: Sums of each sample, or group, see `moments`.
        by_group: True if these are sums of groups; otherwise absent.
        residual_spectrum_before, residual_spectrum_after: Mean spectrum of the error
            (shell SUM over `[k - 1/2, k + 1/2)`), if outputs are fields.
    """
    counted = np.broadcast_to(1.0 if weight is None else weight, truth.shape)
    if offset:  # subtracting constants changes no result and reduces round-off
        others = tuple(i for i in range(truth.ndim) if not axes or i in (0, *axes))
        total = counted.sum(axis=others, keepdims=True)
        mean = (counted * truth).sum(axis=others, keepdims=True)
        mean /= np.where(total > 0.0, total, 1.0)
        truth, predictions = truth - mean, predictions - mean
    by_step = [moments(truth, step, axes, weight, offset) for step in predictions]
    if groups is not None:
        rows = [groups == name for name in np.unique(groups)]
        by_step = [np.stack([s[some].sum(axis=0) for some in rows]) for s in by_step]
    errors = [float(unexplained(step.sum(axis=0))) for step in by_step]
    # Nothing to remove: the model is already right up to round-off.
    floor = _ROUND_OFF * float(np.sum(by_step[0][..., 3]))
    left = [error / errors[0] if errors[0] > floor else 1.0 for error in errors]
    anywhere = counted.reshape(len(truth), -1).max(axis=1)
    correlated = not are_numbers(truth) and anywhere.min() > 0.0
    evidence: dict[str, Any] = {
        "error_removed": 1.0 - left[-1],
        "error_by_step": np.array(left),
        "cc_by_step": np.array(
            [
                pattern_correlation(truth, step, counted) if correlated else np.nan
                for step in predictions
            ]
        ),
        "moments_before": by_step[0],
        "moments_after": by_step[-1],
    }
    if groups is not None:
        evidence["by_group"] = True
    if axes:
        for key, step, sums in (
            ("before", predictions[0], by_step[0]),
            ("after", predictions[-1], by_step[-1]),
        ):
            error = _residual(truth, step, axes, sums.sum(axis=0))
            error = error if weight is None else np.sqrt(weight) * error
            spectra = radial_spectrum(error, axes=axes)
            evidence[f"residual_spectrum_{key}"] = spectra.mean(axis=(0, 1))
    return evidence


def moments(
    truth: Array,
    prediction: Array,
    axes: tuple[int, ...] = (),
    weight: Array | None = None,
    offset: bool = True,
) -> Array:
    """Return the weighted sums of each sample and channel that determine its error.

        w, <w y>, <w q>, <w y y>, <w y q>, <w q q>    of shape (samples, channels, 6)

    Channels are separate if there are spatial axes. Without an offset, the first three
    are 1, 0 and 0, so that none is fitted.
    """
    weights = np.broadcast_to(1.0 if weight is None else weight, truth.shape)
    y, q, w = (_by_channel(part, axes) for part in (truth, prediction, weights))
    pairs: list[tuple[Any, Any]] = [(y, y), (y, q), (q, q)]
    first = [np.ones(y.shape[:2]), *np.zeros((2, *y.shape[:2]))]
    if offset:
        first = [np.sum(w * part, axis=2) for part in (np.ones_like(y), y, q)]
    return np.stack([*first, *(np.sum(w * a * b, axis=2) for a, b in pairs)], axis=2)


def unexplained(sums: Array) -> Array:
    """Return the error after the best gain and offset.

        min over a, b of |y - a q - b|^2

    with one gain a, and one offset b per channel, from added `moments`
    (..., channels, 6).
    """
    square, cross, power = np.moveaxis(_centred(sums).sum(axis=-2), -1, 0)
    explained = np.divide(cross**2, power, out=np.zeros_like(power), where=power > 0.0)
    left: Array = np.maximum(square - explained, 0.0)
    return left


def is_far(gain: float) -> bool:
    """Return whether a gain corrects a wrong amplitude: positive and not near 1."""
    return gain > 0.0 and abs(math.log(gain)) > math.log(NEAR_ONE)


def far_gain(sums: Array) -> float | None:
    """Return the best output gain if the outputs have a wrong amplitude, else None.

    Also None if they are uncorrelated with the truth. `sums` (channels, 6) are added
    `moments`.
    """
    square, cross, power = _centred(sums).sum(axis=0)
    if cross <= PATTERN * math.sqrt(max(square * power, 0.0)):
        return None
    gain = float(cross / power)
    return gain if is_far(gain) else None


def removed(before: Array, after: Array) -> Array:
    """Return the fraction of the error removed between two sets of added `moments`.

    It is 0 if the model is already right up to round-off.
    """
    total, left = unexplained(before), unexplained(after)
    floor = _ROUND_OFF * before[..., 3].sum(axis=-1)
    share = np.divide(left, total, out=np.ones_like(left), where=total > floor)
    return np.asarray(1.0 - share)


def _centred(sums: Array) -> Array:
    """Return <y y>, <y q>, <q q> of the fluctuations about the mean of each channel."""
    weight, y, q, *squares = np.moveaxis(sums, -1, 0)
    weight = np.where(weight > 0.0, weight, 1.0)
    means = (y * y / weight, y * q / weight, q * q / weight)
    return np.stack([s - m for s, m in zip(squares, means, strict=True)], axis=-1)


def _residual(
    truth: Array, prediction: Array, axes: tuple[int, ...], sums: Array
) -> Array:
    """Return `y - a q - b` with the best gain and offsets."""
    _, cross, power = _centred(sums).sum(axis=0)
    gain = float(cross / power) if power > 0.0 else 0.0
    weight = np.where(sums[:, 0] > 0.0, sums[:, 0], 1.0)
    offsets = (sums[:, 1] - gain * sums[:, 2]) / weight
    shape = [1 if i in (0, *axes) else -1 for i in range(truth.ndim)]
    return truth - gain * prediction - offsets.reshape(shape)


def _by_channel(fields: Array, axes: tuple[int, ...]) -> Array:
    """Return an array (samples, channels, points)."""
    if not axes:
        return fields.reshape(len(fields), 1, -1)
    (channels,) = set(range(1, fields.ndim)) - set(axes)
    moved = np.moveaxis(fields, channels, 1)
    return moved.reshape(*moved.shape[:2], -1)


def shares_removed(evidence: Mapping[str, Any]) -> Array:
    """Return the fraction of the error removed, for all samples and leaving out each.

    From `moments_before` and `moments_after` of the evidence; shape (1 + samples,).
    """
    before, after = (
        np.stack([sums.sum(axis=0), *(sums.sum(axis=0) - sums)])
        for sums in (evidence["moments_before"], evidence["moments_after"])
    )
    return removed(before, after)


def standard_error(shares: Array, inflation: float = 1.0) -> float:
    """Return the jackknife standard error over the test samples.

    `shares` are values for all samples and leaving out each, see `shares_removed`;
    `inflation` is a factor on the variance, see `variance_inflation`.
    """
    count = len(shares) - 1
    if count < 2:
        return math.inf
    spread = shares[1:] - shares[1:].mean()
    return math.sqrt(inflation * (count - 1) / count * float(spread @ spread))


def least_removed(evidence: Mapping[str, Any], level: float) -> float:
    """Return the lower confidence bound of the fraction of the error removed.

        share - t(1 - level; m - 1) * s

    where s is the standard error of the share (jackknife over the m test samples, its
    variance times `evidence["inflation"]`) and t the quantile of Student's
    distribution. For the best of K changes use `level / K` (Bonferroni).
    """
    shares = shares_removed(evidence)
    error = standard_error(shares, evidence.get("inflation", 1.0))
    return float(shares[0] - half_width(error, len(shares) - 1, level))


def half_width(error: float, count: int, level: float) -> float:
    """Return `t(1 - level; count - 1) * error`, infinite for fewer than two samples."""
    if count < 2:
        return math.inf
    return float(special.stdtrit(count - 1, 1.0 - level)) * error


def half_interval(
    each: Array, inflation: float, without_piece: Array | None = None
) -> float:
    """Return half of the 90 % interval of a mean correlation, by Student's t.

    With fewer than three samples or groups, it is at least that of the jackknife over
    `without_piece`, the mean correlation leaving out each piece of the fields.
    """
    error = error_of_mean(each, inflation, FEW * (1.0 - float(np.mean(each))))
    if len(each) >= 3:
        return half_width(error, len(each), LEVEL)
    half = float(special.ndtri(1.0 - LEVEL)) * error
    if without_piece is None or len(without_piece) < 3:
        return half
    shares = np.concatenate([[np.mean(each)], without_piece])
    return max(half, half_width(standard_error(shares), len(without_piece), LEVEL))


def error_of_mean(each: Array, inflation: float, few: float) -> float:
    """Return the standard error of a mean; `few` for fewer than three values."""
    if len(each) < 3:
        return few
    return math.sqrt(inflation / len(each)) * float(np.std(each, ddof=1))


def means_of_groups(each: Array, groups: Any) -> Array:
    """Return the mean value of each group, or the values if there are no groups."""
    if groups is None or len(each) != len(groups):
        return each
    return np.array([np.mean(each[groups == name]) for name in np.unique(groups)])


def samples_needed(
    share: float, error: float, count: int, level: float, most: int = 1000
) -> int | None:
    """Return how many test samples would show that a share is significantly above 0.

    This assumes that the share, now from `count` samples with a standard error, stays
    and its error decreases as the inverse square root of their number. None if `most`
    would not show it either.
    """
    for more in range(count + 1, most + 1):
        scaled = error * math.sqrt(count / more)
        if share > half_width(scaled, more, level):
            return more
    return None
