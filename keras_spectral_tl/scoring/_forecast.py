"""Forecast: what every way to retrain will give, before any retraining."""

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from scipy import optimize
from tqdm import tqdm

from keras_spectral_tl import freezing
from keras_spectral_tl._checks import real_number, whole_number
from keras_spectral_tl._graph.layers import (
    fetch,
    layers_with_weights,
    named_weights,
)
from keras_spectral_tl.scoring._arms import Arm, default_arms, joined_arms
from keras_spectral_tl.scoring._explanation import forecast_reason, system_spectra
from keras_spectral_tl.scoring._forecast_result import (
    ArmForecast,
    Forecast,
    SampleCurve,
)
from keras_spectral_tl.scoring._holdout import (
    Sizes,
    Split,
    grouped_splits,
    splits_of,
    variance_inflation,
)
from keras_spectral_tl.scoring._network_parts import (
    NetworkPart,
    refuse_fixed_batches,
    spatial_axes,
)
from keras_spectral_tl.scoring._outlook import (
    Candidate,
    Effort,
    choose,
    half_interval,
    row_of,
    typical_progress,
)
from keras_spectral_tl.scoring._trials import Pool, Run, Trial, Trials, usual_rate
from keras_spectral_tl.spectra import radial_spectrum
from keras_spectral_tl.transfer._options import RetrainOptions
from keras_spectral_tl.transfer._result import versions
from keras_spectral_tl.transfer._retrain import check_fit
from keras_spectral_tl.transfer._samples import Samples

# Steps of one sample: of every arm, and of those that lead.
_SHORT, _LONG = 48, 160
_FACTORS = (3.0, 1.0 / 3.0)
_WITH_RATES, _WITH_LONG = 6, 4
# Samples: fitted and tested at once, tested in all, of the base, images of each.
_SIZES = Sizes(fit=48, held=32, tested=8)
_BASE_TESTED = 8
_MOST_IMAGES = 8


def forecast(
    model: keras.Model,
    base_data: Any,
    target_data: Any,
    arms: Sequence[Arm | freezing.Selector] | None = None,
    seed: int = 0,
    *,
    groups: Any = None,
    keep: float = 0.0,
    **recipe: Any,
) -> Forecast:
    """Predict what each way to retrain a network will give on unseen target samples.

    The model is not changed. Every arm is tried for 48 steps of one sample on some of
    the target samples and tested on others; the best six also at three times and a
    third of the rate, the best four for 160 steps. From what the longer trials add
    follows what the whole retraining will:

        E(n) = E(160) - (E(48) - E(160)) (160^-.8 - n^-.8) / (48^-.8 - 160^-.8)

    with E = 1 - correlation and n = steps times batch size. Trials run at the rate of
    the retraining times the square root of (its steps / theirs).

    Args:
        model: A built network, trained on the base system.
        base_data: `(x, y)` of the base system, as `retrain` takes data, in the units of
            the network; None forgoes the skill on the base.
        target_data: The few samples of the target system, in the units of the network,
            or raw with a `normalization`.
        arms: `Arm`s, or what `retrain` takes as layers; those of `default_arms` if not
            given.
        seed: Seed of all randomness.
        groups: A label for each target sample, such as the number of its trajectory: no
            group is both fitted and tested.
        keep: From 0 to 1, the weight of the correlation on the base in the choice.
        **recipe: Keyword arguments of the `retrain` that is to follow, of which
            optimizer, epochs and batch_size count; or learning_rate and steps. Without:
            500 steps of 8 samples, at the rate that suits each arm (`usual_rate`).
            Besides: `symmetries` of the system, callables `(x, y) -> (x, y)` on whole
            arrays (see `turbulence_data.symmetries`), whose images of the samples are
            fitted too; `replay`, base samples `(x, y)` that are fitted beside those of
            the target; `normalization`, as `retrain` takes it, or a mapping of names
            to several, such as `{"own": RefitOnTarget(), "base": statistics}`, with
            each of which every arm is tried; `progress`, called with a mapping of arm,
            correlation, done and total after each trial, or False for no bar either.

    Returns:
        The predictions, the best arm and its recipe.

    Raises:
        ValueError: For empty or non-finite data, data that do not fit the model, arms
            of equal labels, one group only, symmetries that change shapes, a single
            sample that cannot be divided, numbers out of range.
        TypeError: For arms, symmetries or a recipe of the wrong kind.
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
    progress = recipe.pop("progress", None)
    symmetries = tuple(recipe.pop("symmetries", ()))
    replay = recipe.pop("replay", None)
    normalizations = _named(recipe.pop("normalization", None))
    target = Samples.of(target_data)
    base = _base(model, base_data, bool(keep) or replay is not None)
    effort = Effort.of(recipe, len(target))
    tried = _arms(model, arms)
    seeds = np.random.SeedSequence(seed).spawn(3)
    rng = np.random.default_rng(seeds[0])
    axes = spatial_axes(model, np.ndim(target.y))
    splits = _splits(target, axes, groups, rng)
    makers = {
        name: functools.partial(_bench, model, samples, base, replay, symmetries, seeds)
        for name, samples in _normalized(model, target, normalizations).items()
    }
    benches = {name: make(splits) for name, make in makers.items()}
    candidates = [
        Candidate(arm, bench, name) for name, bench in benches.items() for arm in tried
    ]
    contest = _Contest(model, effort, _watch(progress))
    contest.run(candidates, joined=arms is None)
    inflation = variance_inflation(splits)
    typical = typical_progress(candidates, effort)
    found = [row_of(c, effort, typical, inflation) for c in candidates]
    rows = [row for row, _ in found]
    best, ties, unsure = choose(rows, [each for _, each in found], inflation, keep)
    chosen, before = candidates[best], candidates[best].trials.unchanged()
    chosen.reached = rows[best].correlation
    spectra = _spectra(chosen, target, base, axes)
    tied = [rows[place] for place in ties]
    given = {
        "symmetries": symmetries or None,
        "replay": replay,
        "normalization": normalizations[chosen.normalization],
    }
    return Forecast(
        rows=tuple(sorted(rows, key=lambda row: -row.correlation)),
        best=chosen.arm,
        recipe=_recipe(rows[best], chosen, len(target), given),
        reason=forecast_reason(rows[best], tied, rows, spectra, len(target), before),
        abstained=unsure,
        ties=tuple(row.label for row in tied),
        spectra=spectra,
        provenance={
            "best": rows[best].label,
            "num_base_samples": 0 if base is None else len(base),
            "num_tested": len(chosen.trials.tested),
            "seed": int(seed),
            "keep": float(keep),
            "passes": sum(bench.passes for bench in benches.values()),
            **_provenance(model, target, effort),
        },
        _curve=functools.partial(
            _curve, chosen, effort, splits, makers[chosen.normalization]
        ),
    )


def _provenance(model: keras.Model, target: Samples, effort: Effort) -> dict[str, Any]:
    return {
        "num_target_samples": len(target),
        "steps": effort.steps,
        "batch_size": effort.batch_size,
        "rate": effort.rate,
        "target_data_sha256": target.fingerprint(),
        "weights_sha256": freezing.layer_hashes(model),
        "backend": keras.backend.backend(),
        "versions": versions(),
    }


def _base(model: keras.Model, base_data: Any, needed: bool) -> Samples | None:
    if base_data is not None:
        base = Samples.of(base_data)
        check_fit(model, base)
        return base
    if needed:
        raise ValueError("keep and replay need base_data. Received None.")
    return None


def _arms(model: keras.Model, arms: Any) -> list[Arm]:
    """Return the arms, with the unchanged network first; all apply to the model."""
    if arms is None:
        return list(default_arms(model))
    if isinstance(arms, str | Arm) or not isinstance(arms, Sequence) or not arms:
        raise TypeError(
            "arms must be a sequence of Arm objects or of what retrain takes as "
            f"layers, at least one. Received {arms!r:.100}."
        )
    found = [arm if isinstance(arm, Arm) else Arm(_label(arm), arm) for arm in arms]
    if all(arm.trains for arm in found):
        found.insert(0, Arm("unchanged", ()))
    labels = [arm.label for arm in found]
    if len(set(labels)) < len(labels):
        raise ValueError(f"arms must have different labels. Received {labels}.")
    return found


def _label(layers: Any) -> str:
    if isinstance(layers, tuple | list):
        return "+".join(map(_label, layers)) or "unchanged"
    return "all layers" if layers is None else str(layers)


def _splits(
    target: Samples, axes: tuple[int, ...], groups: Any, rng: np.random.Generator
) -> list[Split]:
    if groups is not None:
        splits = grouped_splits(np.shape(target.y), groups, _SIZES, rng)
    else:
        splits = splits_of(np.shape(target.y), axes, _SIZES, rng)
    if not splits:
        raise ValueError(
            "One target sample without space cannot be divided into a part to fit and "
            "a part to test, so nothing can be forecast. Add samples."
        )
    return splits


def _named(normalization: Any) -> dict[str, Any]:
    """Return normalizations by name; a single one has none."""
    if not isinstance(normalization, Mapping):
        return {"": normalization}
    if not normalization:
        raise ValueError("normalization must name at least one. Received none.")
    return {str(name): value for name, value in normalization.items()}


def _normalized(
    model: keras.Model, target: Samples, normalizations: Mapping[str, Any]
) -> dict[str, Samples]:
    found = {}
    for name, normalization in normalizations.items():
        options = RetrainOptions(normalization=normalization)
        if options.refits_layers:
            raise TypeError(
                "normalization must act on samples, such as RefitOnTarget() or "
                f"ChannelStatistics. Received {normalization!r}."
            )
        found[name] = options.prepare(target)[0]
        check_fit(model, found[name])
    return found


def _bench(
    model: keras.Model,
    target: Samples,
    base: Samples | None,
    replay: Any,
    symmetries: Sequence[Any],
    seeds: Sequence[np.random.SeedSequence],
    splits: Sequence[Split],
) -> Trials:
    """Return the bench on which all arms are tried with the same samples."""
    rng = np.random.default_rng(seeds[1])
    replayed = None if replay is None else Samples.of(replay)
    if replayed is not None:
        check_fit(model, replayed)
        replayed = _some(replayed, _SIZES.fit, rng)
    tested = None if base is None else _some(base, _BASE_TESTED, rng)
    images = _images(target, symmetries, rng)
    pool = Pool.of(target, images, replayed, tested)
    return Trials(model, pool, splits, seeds[2])


def _some(samples: Samples, most: int, rng: np.random.Generator) -> Samples:
    rows = rng.permutation(len(samples))[:most]
    return Samples(*samples.take(np.sort(rows)))


def _images(
    target: Samples, symmetries: Sequence[Any], rng: np.random.Generator
) -> list[Samples]:
    """Return the target samples under some of the symmetries, fewer of many samples."""
    if not all(map(callable, symmetries)):
        raise TypeError(
            "symmetries must be callables (x, y) -> (x, y). Received "
            f"{symmetries!r:.100}."
        )
    count = min(len(symmetries), _MOST_IMAGES - 1, max(_SIZES.fit // len(target), 1))
    chosen = np.sort(rng.permutation(len(symmetries))[:count])
    found = []
    for place in chosen:
        x, y = symmetries[place](target.x, target.y)
        image = Samples.of((x, y))
        shapes = [
            [np.shape(a) for a in keras.tree.flatten((s.x, s.y))]
            for s in (image, target)
        ]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"The symmetry {symmetries[place]!r} changes the shapes of samples "
                f"from {shapes[1]} to {shapes[0]}. Leave out quarter turns of fields "
                "that are not square."
            )
        found.append(image)
    return found


class _Contest:
    """Trials of all candidates: short ones, then rates and longer ones of the best."""

    def __init__(self, model: keras.Model, effort: Effort, watch: Any) -> None:
        self._effort, self._watch = effort, watch
        weights = named_weights(layers_with_weights(model)).values()
        self._kernels = [fetch(w) for w in weights if len(w.shape) > 1]
        self._model = model

    def run(self, candidates: list[Candidate], joined: bool) -> None:
        """Try all, and add pairs and blocks of the best layers where they are asked."""
        with self._watch as move:
            self._move, self._done = move, 0
            self._total = len(candidates) + len(_FACTORS) * _WITH_RATES + _WITH_LONG
            self._each(candidates, self._first)
            if joined:
                more = self._joined(candidates)
                self._total += len(more)
                self._each(more, self._first)
                candidates += more
            trained = [c for c in candidates if c.short]
            self._each(_leading(trained, _WITH_RATES), self._rates)
            self._each(_leading(trained, _WITH_LONG), self._longer)

    def _joined(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        found = []
        known = {(c.normalization, c.arm.label) for c in candidates}
        for name, bench in {c.normalization: c.trials for c in candidates}.items():
            own = [c for c in candidates if c.normalization == name and c.short]
            ranked = [c.arm.label for c in _leading(own, len(own))]
            for arm in joined_arms(self._model, ranked):
                if (name, arm.label) not in known:
                    found.append(Candidate(arm, bench, name))
        return found

    def _each(self, candidates: Sequence[Candidate], plan: Any) -> None:
        for bench in dict.fromkeys(c.trials for c in candidates):
            own = {c.arm.label: c for c in candidates if c.trials is bench}
            fixed = [c for c in own.values() if not _trained(c.arm)]
            for candidate in fixed:
                self._fixed(candidate)
            arms = [c.arm for c in own.values() if _trained(c.arm)]
            for arm, part, run in bench.of(arms):
                plan(own[arm.label], part, run)

    def _fixed(self, candidate: Candidate) -> None:
        if not candidate.arm.trains:
            candidate.long = candidate.trials.unchanged()
        else:
            candidate.long, candidate.gain = candidate.trials.with_gain()
            candidate.parameters, candidate.step = 1, 1.0
            # Twice the way that the gain has to go.
            way = max(abs(candidate.gain - 1.0), 0.01)
            candidate.rate = 4.0 * way / self._effort.steps
        self._report(candidate, candidate.long)

    def _first(self, candidate: Candidate, part: NetworkPart, run: Run) -> None:
        values = part.gradient.function.values
        candidate.parameters = part.gradient.function.num_parameters
        candidate.step = part.step
        candidate.rate = self._effort.rate or usual_rate(values, self._kernels)
        self._try(candidate, run, 1.0)

    def _rates(self, candidate: Candidate, part: NetworkPart, run: Run) -> None:
        for factor in _FACTORS:
            self._try(candidate, run, factor)

    def _longer(self, candidate: Candidate, part: NetworkPart, run: Run) -> None:
        rate = candidate.rate * candidate.factor
        candidate.long = run(self._effort.rate_of_trial(rate, _LONG), _LONG)
        self._report(candidate, candidate.long)

    def _try(self, candidate: Candidate, run: Run, factor: float) -> None:
        rate = self._effort.rate_of_trial(candidate.rate * factor, _SHORT)
        candidate.short[factor] = run(rate, _SHORT)
        self._report(candidate, candidate.short[factor])

    def _report(self, candidate: Candidate, trial: Trial) -> None:
        self._done += 1
        self._move(
            {
                "arm": candidate.arm.label,
                "correlation": trial.correlation,
                "done": self._done,
                "total": max(self._total, self._done),
            }
        )


def _trained(arm: Arm) -> bool:
    return arm.trains and not isinstance(arm.layers, freezing.OutputGain)


def _leading(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    def key(candidate: Candidate) -> float:
        return -candidate.short[candidate.factor].correlation

    return sorted(candidates, key=key)[:count]


def _watch(progress: Any) -> Any:
    """Return a context that yields what is called after each trial."""
    if callable(progress):
        return contextlib.nullcontext(progress)
    shown = progress is not False and sys.stderr.isatty()
    return _bar(shown)


@contextlib.contextmanager
def _bar(shown: bool) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    # Nothing is shown of what takes less than two seconds.
    with tqdm(desc="Forecast", unit=" trials", delay=2, disable=not shown) as bar:

        def move(row: Mapping[str, Any]) -> None:
            bar.total = row["total"]
            bar.set_postfix_str(row["arm"], refresh=False)
            bar.update()

        yield move


def _recipe(
    row: ArmForecast, chosen: Candidate, num_samples: int, given: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the keyword arguments of `retrain` for an arm."""
    if not chosen.arm.trains:
        return None
    schedule = keras.optimizers.schedules.CosineDecay(row.learning_rate, row.steps)
    return {
        "layers": chosen.arm.layers,
        "optimizer": keras.optimizers.Adam(schedule),
        "epochs": -(-row.steps // -(-num_samples // row.batch_size)),
        "batch_size": row.batch_size,
        **{name: value for name, value in given.items() if value is not None},
    }


def _spectra(
    chosen: Candidate, target: Samples, base: Samples | None, axes: tuple[int, ...]
) -> dict[str, Any]:
    """Return spectra of the held-out error, and of the outputs of both systems."""
    if not axes:
        return {}
    trials = chosen.trials
    truth = np.asarray(trials.truth, np.float64)
    found: dict[str, Any] = {}
    for name, trial in (("before", trials.unchanged()), ("after", chosen.trial)):
        power = float(np.sum(trials.weight * trial.outputs**2))
        cross = float(np.sum(trials.weight * trial.outputs * truth))
        gain = cross / power if power > 0.0 else 0.0
        error = trials.weight * (truth - gain * trial.outputs)
        spectra = radial_spectrum(error, axes=axes)
        found[f"residual_spectrum_{name}"] = spectra.mean(axis=(0, 1))
    if base is not None:
        found["systems"] = system_spectra(base.y, target.y, axes)
    return found


def _curve(
    chosen: Candidate,
    effort: Effort,
    splits: Sequence[Split],
    make: Callable[[Sequence[Split]], Trials],
) -> SampleCurve:
    """Return the curve of the chosen arm from trials with fewer samples."""
    fewest = min(len(split.fit) for split in splits)
    if not chosen.arm.trains:
        raise ValueError("Nothing is retrained, so samples make no difference.")
    if fewest < 3:
        raise ValueError(
            "A curve against the number of samples needs four target samples or more, "
            f"so that some can be left out. Received {fewest + 1}."
        )
    counts = sorted({max(fewest // 4, 1), max(fewest // 2, 2), fewest})
    found = []
    for count in counts:
        fewer = [dataclasses.replace(s, fit=s.fit[:count]) for s in splits]
        for _, _, run in make(fewer).of([chosen.arm]):
            rate = effort.rate_of_trial(chosen.rate * chosen.factor, _LONG)
            found.append(run(rate, _LONG))
    errors = np.array([1.0 - trial.correlation for trial in found])
    terms = np.stack([np.ones(len(counts)), np.array(counts, float) ** -0.5], axis=1)
    (level, slope), _ = optimize.nnls(terms, errors)
    # The whole retraining gets as much further as the longest trial says.
    scale = (1.0 - chosen.reached) / errors[-1]
    inflation = variance_inflation(list(splits))
    half = half_interval(found[-1].correlations, inflation)
    return SampleCurve(
        num_samples=np.array(counts),
        correlations=1.0 - scale * errors,
        asymptote=float(scale * level),
        slope=float(scale * slope),
        spread=half / 1.64,
    )
