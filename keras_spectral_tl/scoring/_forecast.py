"""Forecast of how well each way to retrain will do, before any retraining."""

import dataclasses
import functools
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from scipy import optimize

from keras_spectral_tl._checks import as_callables, real_number, whole_number
from keras_spectral_tl._graph.calls import check_names
from keras_spectral_tl._progress import watched
from keras_spectral_tl.freezing import OutputGain, Selector, select_layers
from keras_spectral_tl.freezing._parts import adds_parts, items_of
from keras_spectral_tl.losses import WeightedMeanSquaredError
from keras_spectral_tl.metrics._functions import are_numbers
from keras_spectral_tl.metrics._plausibility import warn_of_doubts
from keras_spectral_tl.scoring._contest.candidate import Candidate
from keras_spectral_tl.scoring._contest.contest import Contest
from keras_spectral_tl.scoring._contest.verdict import Verdict
from keras_spectral_tl.scoring._effort import COUNTED, Effort, epsilon_of
from keras_spectral_tl.scoring._evidence import half_interval, means_of_groups
from keras_spectral_tl.scoring._explanation import dropout_note, system_spectra
from keras_spectral_tl.scoring._forecast_result import (
    ArmForecast,
    Forecast,
    SampleCurve,
)
from keras_spectral_tl.scoring._holdout import (
    Array,
    Sizes,
    Split,
    folds_of,
    in_groups,
    pieces_of,
    variance_inflation,
)
from keras_spectral_tl.scoring._network_parts import (
    check_unchanged,
    question_record,
    refuse_fixed_batches,
    spatial_axes,
)
from keras_spectral_tl.scoring._trials import Trials, pool_of
from keras_spectral_tl.spectra import radial_spectrum
from keras_spectral_tl.transfer._arms import Arm, SelfWritten, as_arms, default_arms
from keras_spectral_tl.transfer._arms import Candidate as SweepCandidate
from keras_spectral_tl.transfer._loop import samples_an_epoch
from keras_spectral_tl.transfer._options import SQUARED, RetrainOptions, weighted
from keras_spectral_tl.transfer._retrain import check_fit
from keras_spectral_tl.transfer._samples import Samples

# Samples fitted and tested at once, and tested in total.
_SIZES = Sizes(fit=48, held=32, tested=8)
# The same if each sample is a single number, and the fewest of these. Of numbers all
# others are fitted, since a trial would learn a few of them by heart.
_OF_NUMBERS, _FEWEST_NUMBERS = Sizes(fit=sys.maxsize, held=32, tested=64), 4


def forecast(
    model: keras.Model,
    base_data: Any,
    target_data: Any,
    arms: Sequence[Arm | Selector] | None = None,
    seed: int = 0,
    *,
    groups: Any = None,
    keep: float = 0.0,
    **recipe: Any,
) -> Forecast:
    """Predict the accuracy of each way to retrain a network on unseen target samples.

    The model is not changed. Every arm is trained for 48 steps of one sample on some of
    the target samples and tested on others. The best six are also tried at three times
    the rate, or at a third if that is no better. The best four arms, the best four
    single layers and the arm with the most weights are trained for 160 steps (fewer on
    fields of more than 4,096 points). Of the default arms, the low-rank update and all
    layers with an L2-SP pull continue only if their 48 steps beat all others. The gain
    from 48 to 160 steps is extrapolated to the whole retraining:

        E(n) = E(160) - (E(48) - E(160)) (160^-.8 - n^-.8) / (48^-.8 - 160^-.8)

    with E = 1 - correlation and n = steps times batch size. Trials run at the rate of
    the retraining times sqrt(steps of the retraining / steps of the trial).

    Args:
        model: A built network, trained on the base system.
        base_data: `(x, y)` of the base system, as for `retrain`, in the units of the
            network; with None, base correlations are not predicted.
        target_data: The few samples of the target system, in the units of the network,
            or raw with a `normalization`.
        arms: `Arm` objects or layers as for `retrain`; default `default_arms`.
        seed: Seed of all randomness.
        groups: A label for each target sample, such as the number of its trajectory: no
            group is both fitted and tested. Default: the attribute `groups` of
            `target_data`, as set by `turbulence_data.to_arrays`, unless all labels are
            equal; `provenance` records which was used.
        keep: Weight, from 0 to 1, of the correlation on the base in the choice.
        **recipe: Arguments of the `retrain` to be predicted: optimizer, or
            learning_rate (initial rate of Adam with a cosine decay to 0); epochs or
            steps; and batch_size. Given values hold for all arms; a given optimizer
            becomes part of the recipe. Default: 500 steps of 8 samples, with a
            learning rate chosen for each arm (`usual_rate` and trials of others).
            Other options of `retrain` (another loss, callbacks, validation, ...) are
            an error: pass them to `retrain` along with the recipe. The loss may be a
            `losses.WeightedMeanSquaredError`: its weights of points (areas of cells, 0
            on land) then count in all trials and correlations.
            Also: `symmetries` of the system, callables `(x, y) -> (x, y)` on whole
            arrays without randomness (see `turbulence_data.symmetries`), whose images
            of the samples are fitted too; `replay`, base samples `(x, y)` that are
            fitted along with the target samples (in trials, without those used to test
            the base, if others are left; if recipes start from an output gain, y of the
            replayed samples is multiplied by it in all of them, so that the network
            before the gain keeps what it has learned, and outputs for the base are
            larger by the gain); `normalization`, as for `retrain`, or a mapping of
            names to several, such as `{"own": RefitOnTarget(), "base": statistics}`,
            each of which is tried with every arm; `progress`, called with a mapping of
            arm, correlation, done and total after each trial, or False to show no bar.

    Returns:
        The predictions, the best arm and its recipe.

    Raises:
        ValueError: For empty or non-finite data, data that do not fit the model, arms
            with equal labels, a single group, symmetries that change shapes, a single
            sample that cannot be divided, constant y, or numbers out of range.
        TypeError: For arms, symmetries or a recipe of the wrong type.
        KeyError: If there is no such layer.

    Example:
        >>> from keras_spectral_tl.models import build_sgs_cnn
        >>> model = build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
        >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 2)).astype("float32")
        >>> data = {"base_data": (x, x[..., :1]), "target_data": (x, x[..., 1:])}
        >>> arms = ["conv_1", Arm("everything")]
        >>> found = forecast(model, **data, arms=arms, steps=20)
        >>> sorted(row.label for row in found.rows)
        ['conv_1', 'everything', 'unchanged']
    """
    whole_number("seed", seed, 0)
    real_number("keep", keep, at_least=0, at_most=1)
    refuse_fixed_batches(model)
    watch = watched(recipe.pop("progress", None), "Forecast", "trials", "arm")
    tried = _arms(model, arms)
    task = _Task(model, base_data, target_data, groups, seed, recipe)
    tried, left_out = _retrainable(task, tried, arms is None)
    if task.base is None and keep:
        raise ValueError("keep needs base_data. Received None.")
    doubts = warn_of_doubts(model, task.base, task.target, task.normalizations.values())
    candidates = [
        Candidate(arm, bench, name)
        for name in task.normalizations
        for bench in [task.bench(name, task.splits)]
        for arm in tried
    ]
    joined = arms is None and not left_out
    Contest(model, task.effort, watch).run(candidates, joined=joined)
    inflation = variance_inflation(list(task.splits))
    tested = candidates[0].trials.tested
    labels = None if task.target.groups is None else task.target.groups[tested]
    verdict = Verdict.of(candidates, task.effort, inflation, keep, labels)
    chosen, row = verdict.chosen, verdict.row
    pairs = zip(verdict.rows, candidates, strict=True)
    predicted = {row.label: (row, candidate) for row, candidate in pairs}
    spectra = task.spectra(chosen)
    return Forecast(
        rows=tuple(sorted(verdict.rows, key=lambda row: -row.correlation)),
        best=chosen.arm,
        reason=doubts
        + verdict.reason(spectra, len(task.target), keep)
        + (dropout_note(model) if chosen.arm.trains else "")
        + left_out,
        abstained=verdict.unsure,
        ties=tuple(tied.label for tied in verdict.ties),
        spectra=spectra,
        provenance={
            "best": row.label,
            "seed": int(seed),
            "keep": float(keep),
            "num_tested": len(chosen.trials.tested),
            "passes": sum(bench.passes for bench in {c.trials for c in candidates}),
            **task.record,
            **dataclasses.asdict(task.effort),
        },
        _recipes={label: task.recipe(*one) for label, one in predicted.items()},
        _curve=functools.partial(_curve, task, predicted),
    )


class _Task:
    """Input of a forecast: a network, samples, and the retraining to predict.

    Attributes:
        base, target: Samples of the two systems; base may be None.
        grouped: Where the groups of the target come from, and how many there are.
        epoch: Samples per epoch of the retraining, including replayed ones.
        effort, optimizer: Of the retraining; the optimizer is None if none is given.
        normalizations: Normalizations by name, "" for a single one.
        axes: Spatial axes of the outputs.
        splits: Splits of the target samples into fitted and tested ones.
        seeds: Seeds of the sample order, of random draws and of the trials.
    """

    def __init__(
        self,
        model: keras.Model,
        base_data: Any,
        target_data: Any,
        groups: Any,
        seed: int,
        recipe: dict[str, Any],
    ) -> None:
        """Check and split the samples; pop options from `recipe` that are no effort."""
        self.model = model
        self.symmetries = as_callables(recipe.pop("symmetries", None))
        replay = recipe.pop("replay", None)
        self.replay = None if replay is None else Samples.of(replay, "replay")
        self._replays: dict[float, Samples] = {}
        self.normalizations = _named(recipe.pop("normalization", None))
        _check_recipe(recipe)
        self.loss = recipe.pop("loss", None)
        given = Samples.of(target_data, "target_data")
        self.target, grouped = in_groups(weighted(given, self.loss), groups)
        self.record = {"target_data_sha256": given.fingerprint(), **grouped}
        if np.all(self.target.y == self.target.y.flat[0]):
            raise ValueError(
                "y of target_data is constant. Expected values with a pattern to learn."
            )
        self.base = None
        if base_data is not None:
            self.base = weighted(Samples.of(base_data, "base_data"), self.loss)
            check_fit(model, self.base)
        if all(one is None for one in self.normalizations.values()):
            check_fit(model, self.target)
        else:
            check_names(model, self.target.x)
        if self.replay is not None:
            check_names(model, self.replay.x)
        self.record |= question_record(model, self.base, self.target)
        self.epoch = samples_an_epoch(len(self.target), self.replay)
        self.effort = Effort.of(recipe, self.epoch)
        self.optimizer = _given_optimizer(recipe)
        self.axes = spatial_axes(model, np.ndim(self.target.y))
        self.seeds = np.random.SeedSequence(seed).spawn(3)
        self.splits = self._splits_of(_SIZES)

    def with_all_fitted(self) -> list[Split]:
        """Return splits that test the same samples, with all others fitted."""
        return self._splits_of(dataclasses.replace(_SIZES, fit=sys.maxsize))

    def _splits_of(self, sizes: Sizes) -> list[Split]:
        rng = np.random.default_rng(self.seeds[0])
        return _splits(self.target, self.axes, sizes, rng)

    def bench(self, name: str, splits: Sequence[Split]) -> Trials:
        """Return the trials of all arms with one normalization."""
        options = RetrainOptions(
            normalization=self.normalizations[name],
            loss=self.loss or "mse",
            symmetries=self.symmetries,
        )
        if options.refits_layers:
            raise TypeError(
                "normalization must act on samples, such as RefitOnTarget() or "
                f"ChannelStatistics. Received {options.normalization!r}."
            )
        target = options.prepare(self.target, self.model)[0]
        check_fit(self.model, target)
        rng = np.random.default_rng(self.seeds[1])
        pool = pool_of(target, self.base, self.replay, self.symmetries, rng)
        seed, pieces = self.seeds[2], self._pieces(splits)
        return Trials(self.model, pool, splits, seed, self.effort, pieces)

    def _pieces(self, splits: Sequence[Split]) -> list[Array]:
        """Return masks without a piece of a sample each, if few samples are tested."""
        tested = np.unique(np.concatenate([split.held for split in splits]))
        if self.target.groups is not None:
            tested = np.unique(self.target.groups[tested])
        shape = np.shape(self.target.y)[1:]
        return pieces_of(shape, self.axes) if len(tested) < 3 else []

    def _replayed(self, gain: float) -> Samples | None:
        """Return the samples that a recipe replays; the same ones for equal gains."""
        if self.replay is not None and gain not in self._replays:
            self._replays[gain] = self.replay.times(gain)
        return self._replays.get(gain)

    def recipe(self, row: ArmForecast, chosen: Candidate) -> dict[str, Any] | None:
        """Return the keyword arguments of `retrain` for an arm."""
        if not chosen.arm.trains:
            return None
        schedule = keras.optimizers.schedules.CosineDecay(row.learning_rate, row.steps)
        adam = keras.optimizers.Adam(schedule, epsilon=epsilon_of(chosen.trials.size))
        batches = -(-self.epoch // row.batch_size)
        given = {
            "symmetries": self.symmetries or None,
            "replay": self._replayed(chosen.trials.gain),
            "normalization": self.normalizations[chosen.normalization],
            "pull": chosen.arm.pull or None,
            "loss": None if self.loss in SQUARED else self.loss,
        }
        return {
            "layers": _started(chosen),
            "optimizer": self.optimizer or adam,
            "epochs": -(-row.steps // batches),
            "batch_size": row.batch_size,
            **{name: value for name, value in given.items() if value is not None},
        }

    def spectra(self, chosen: Candidate) -> dict[str, Any]:
        """Return spectra of the held-out error and of the outputs of both systems."""
        if not self.axes:
            return {}
        trials, found = chosen.trials, {}
        truth = np.asarray(trials.truth, np.float64)
        for name, trial in (("before", trials.unchanged), ("after", chosen.trial)):
            power = float(np.sum(trials.weight * trial.outputs**2))
            cross = float(np.sum(trials.weight * trial.outputs * truth))
            gain = cross / power if power > 0.0 else 0.0
            error = np.sqrt(trials.weight) * (truth - gain * trial.outputs)
            spectra = radial_spectrum(error, axes=self.axes)
            found[f"residual_spectrum_{name}"] = spectra.mean(axis=(0, 1))
        if self.base is not None:
            found["systems"] = system_spectra(self.base.y, trials.targets, self.axes)
        return found


def _started(chosen: Candidate) -> Any:
    """Return the layers to train, together with the output gain they start from."""
    layers, gain = chosen.arm.layers, chosen.first_gain
    if layers == OutputGain():
        return OutputGain(initial=None)  # as the forecast, which has its best value
    if gain == 1.0:
        return layers
    items = items_of(layers)
    kept = [i for i in items if not isinstance(i, OutputGain)]
    named = [slice(None) if item is None else item for item in kept]
    return [*named, OutputGain(initial=gain)]


def _check_recipe(recipe: Mapping[str, Any]) -> None:
    """Raise an error for options that conflict or that a recipe cannot hold."""
    given = {name: value for name, value in recipe.items() if value is not None}
    for pair in (("epochs", "steps"), ("optimizer", "learning_rate")):
        if given.keys() >= set(pair):
            both = " and ".join(f"{name}={given[name]!r:.60}" for name in pair)
            raise TypeError(
                f"Expected {' or '.join(pair)} of the retraining, not both. Received "
                f"{both}: leave one of them out."
            )
    lost = {name: value for name, value in given.items() if name not in COUNTED}
    RetrainOptions.of(lost)  # raises an error that suggests the right name of a typo
    loss = lost.get("loss")
    if loss in SQUARED or isinstance(loss, WeightedMeanSquaredError):
        del lost["loss"]
    lost.pop("verbose", None)  # changes no result
    if lost:
        names = ", ".join(f"{name}={value!r:.60}" for name, value in lost.items())
        raise TypeError(
            "A forecast rehearses Adam on the mean squared error, and its recipe has "
            f"no other options of a retraining: expected {', '.join(COUNTED)}, "
            "symmetries, replay, normalization or loss=WeightedMeanSquaredError("
            f"weights), for weights of points. Received {names}. Pass these to "
            "retrain beside the recipe: retrain(model, target_data, **forecast.recipe, "
            f"{', '.join(f'{name}=...' for name in lost)}); a pull belongs to an arm, "
            "Arm(label, layers, pull=...)."
        )


def _given_optimizer(recipe: Mapping[str, Any]) -> keras.optimizers.Optimizer | None:
    """Return the optimizer of a recipe, or an Adam of its schedule, or None."""
    if callable(recipe.get("learning_rate")):
        return keras.optimizers.Adam(recipe["learning_rate"])
    given = recipe.get("optimizer")
    return None if given is None else keras.optimizers.get(given)


def _arms(model: keras.Model, arms: Any) -> list[Arm]:
    """Return the arms, the unchanged network first, and check that all apply."""
    if arms is None:
        return list(default_arms(model))
    found = as_arms(arms)
    for arm in found:
        SweepCandidate.of_arm(model, arm)  # raises an error if it does not apply
        _refuse_statistics_alone(model, arm)
    if all(arm.trains for arm in found):
        found.insert(0, Arm("unchanged", ()))
    return found


def _retrainable(task: _Task, arms: list[Arm], default: bool) -> tuple[list[Arm], str]:
    """Return the arms that a retraining does not refuse, and what is left out in words.

    Arms that are not the default ones must not be refused.
    """
    written = SelfWritten.of(task.model, task.target.x)
    left = written.refused({arm.label: arm.layers for arm in arms}, default)
    kept = [arm for arm in arms if arm.label not in left]
    if left and not any(arm.label == "+".join(written.layers) for arm in kept):
        kept.append(Arm("+".join(written.layers), written.layers))
    return kept, written.left_out(left)


def _refuse_statistics_alone(model: keras.Model, arm: Arm) -> None:
    if not arm.trains or adds_parts(arm.layers):
        return
    if not select_layers(model, arm.layers).num_trainable:
        raise ValueError(
            f"The arm {arm.label!r} changes only statistics, which trials of a "
            "forecast do not update. Expected weights that train. Received "
            f"{arm.layers!r:.100}: leave it out, and compare it by oracle_sweep(model, "
            "target_data, test_data, arms=[...]), which retrains."
        )


def _splits(
    target: Samples, axes: tuple[int, ...], sizes: Sizes, rng: np.random.Generator
) -> list[Split]:
    numbers = are_numbers(target.y)
    if numbers and len(target) < _FEWEST_NUMBERS:
        raise ValueError(
            f"Expected {_FEWEST_NUMBERS} target samples or more, since each is a "
            "single number and these are correlated over the samples. Received "
            f"{len(target)}: add samples."
        )
    splits = folds_of(target, axes, _OF_NUMBERS if numbers else sizes, rng)
    if not splits:
        raise ValueError(
            "A single target sample without spatial axes, or with weights in one row "
            "only, cannot be divided into a part to fit and a part to test, so nothing "
            "can be forecast. Add samples."
        )
    return splits


def _named(normalization: Any) -> dict[str, Any]:
    """Return normalizations by name, "" for a single one."""
    if not isinstance(normalization, Mapping):
        return {"": normalization}
    if not normalization:
        raise ValueError("normalization must name at least one. Received none.")
    return {str(name): value for name, value in normalization.items()}


def _curve(
    task: _Task, predicted: Mapping[str, tuple[ArmForecast, Candidate]], label: str
) -> SampleCurve:
    """Return the sample curve of an arm, from trials with fewer samples."""
    check_unchanged(task.model, task.record["weights_sha256"])
    (row, candidate), splits = predicted[label], task.with_all_fitted()
    fewest = min(len(split.fit) for split in splits)
    if not candidate.arm.trains:  # samples make no difference
        width = row.correlation_high - row.correlation_low
        return SampleCurve(
            num_samples=np.array([float(len(task.target))]),
            correlations=np.array([row.correlation]),
            asymptote=1.0 - row.correlation,
            slope=0.0,
            spread=0.5 * width / 1.64,
        )
    if fewest < 3:
        raise ValueError(
            "A curve against the number of samples needs four target samples or more, "
            f"so that some can be left out. Received {len(task.target)}."
        )
    most = max(min(fewest, candidate.trials.reach), 3)
    counts = sorted({max(most // 4, 1), max(most // 2, 2), most})
    found = []
    for count in counts:
        fewer = [dataclasses.replace(s, fit=s.fit[:count]) for s in splits]
        bench = task.bench(candidate.normalization, fewer)
        if not candidate.takes_steps:
            found.append(bench.with_gain()[0])
            continue
        for _, _, run in bench.of([candidate.arm]):
            found.append(run(candidate.long_rate(task.effort), bench.long))
    errors = np.array([1.0 - trial.correlation for trial in found])
    # The forecast with the fitted samples stands for all available samples.
    samples = np.array(counts) * (len(task.target) / fewest)
    terms = np.stack([np.ones(len(counts)), samples**-0.5], axis=1)
    (level, slope), _ = optimize.nnls(terms, errors)
    # The whole retraining adds as much as is forecast from the longest trial.
    scale = (1.0 - row.correlation) / max(errors[-1], 1e-9)
    each, groups = found[-1].correlations, task.target.groups
    if groups is not None:
        each = means_of_groups(each, groups[candidate.trials.tested])
    half = half_interval(each, variance_inflation(splits), found[-1].without_piece)
    return SampleCurve(
        num_samples=samples,
        correlations=1.0 - scale * errors,
        asymptote=float(scale * level),
        slope=float(scale * slope),
        spread=half / 1.64,
    )
