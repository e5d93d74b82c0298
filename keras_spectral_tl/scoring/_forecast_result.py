"""Result of a forecast: a row for every arm, the best one and its recipe."""

import dataclasses
import math
import os
import pathlib
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

import keras_spectral_tl
from keras_spectral_tl._checks import real_number, require
from keras_spectral_tl._results import NOT_WORTH, AsJson, Result, as_cc, as_lists
from keras_spectral_tl.freezing import layer_hashes
from keras_spectral_tl.scoring._holdout import Array
from keras_spectral_tl.transfer._arms import Arm, layers_to_json
from keras_spectral_tl.transfer._result import SweepResult, Weights
from keras_spectral_tl.transfer._samples import Samples
from keras_spectral_tl.transfer._sweep import oracle_sweep

# Printed at most: lines of the reason, rows of the table.
_LINES, _ROWS = 8, 14


@dataclasses.dataclass(frozen=True)
class ArmForecast:
    """Prediction for one arm on target samples that it has not seen.

    Attributes:
        arm: The arm.
        correlation: Mean pattern correlation.
        correlation_low: Lower end of its 90 % interval.
        correlation_high: Upper end.
        relative_rmse: RMSE divided by the root mean square of the truth, both in the
            units of the network, after a normalization, unlike those of `measure`.
        base_correlation: Mean pattern correlation on the base system after retraining,
            nan without base data.
        parameters: Number of weights that train.
        learning_rate: Initial learning rate of Adam, decaying to 0 as a cosine.
        steps: Steps of the retraining.
        batch_size: Samples per step.
        cost: Cost of the retraining in forward passes of one sample.
        measured_steps: Number of samples passed in the longest trial behind the
            prediction, at most those of the retraining; 0 for none.
        normalization: Name of the normalization of the target, "" if there is only one.
    """

    arm: Arm
    correlation: float
    correlation_low: float
    correlation_high: float
    relative_rmse: float
    base_correlation: float
    parameters: int
    learning_rate: float
    steps: int
    batch_size: int
    cost: float
    measured_steps: int
    normalization: str = ""

    @property
    def label(self) -> str:
        """Name of the row: that of the arm and of its normalization."""
        if not self.normalization:
            return self.arm.label
        return f"{self.arm.label} ({self.normalization} statistics)"

    @property
    def relative_rmse_interval(self) -> tuple[float, float]:
        """90 % interval of the relative RMSE, derived from that of the correlation.

            relative_rmse sqrt((1 - c^2) / (1 - correlation^2))

        with c the ends of that interval, at least 0: the error after the best gain.
        """
        left = 1.0 - self.correlation**2
        if not left > 0.0:
            return self.relative_rmse, self.relative_rmse
        ends = (max(self.correlation_high, 0.0), max(self.correlation_low, 0.0))
        low, high = (
            self.relative_rmse * math.sqrt(max(1.0 - c**2, 0.0) / left) for c in ends
        )
        return min(low, self.relative_rmse), max(high, self.relative_rmse)

    def row(self) -> dict[str, Any]:
        """Return the numbers of the row by name, including the pull of its arm."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del found["arm"]
        low, high = self.relative_rmse_interval
        return {
            **found,
            "pull": float(self.arm.pull),
            "relative_rmse_low": low,
            "relative_rmse_high": high,
        }


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SampleCurve(Result):
    """Error of an arm against the number of target samples.

        1 - correlation = a + b n^(-1/2),    a, b >= 0

    fitted to trials with fewer and fewer samples. Each trial holds out some samples;
    the one trained on all others stands for all available samples. Printing the curve
    tells whether more data would help.

    Attributes:
        num_samples: Number of samples that each trial stands for, increasing; the last
            is the available number, or as many as its steps can see.
        correlations: Mean correlation on held-out samples.
        asymptote: a.
        slope: b.
        spread: Standard error of 1 - correlation at the largest number of samples.
    """

    num_samples: Array
    correlations: Array
    asymptote: float
    slope: float
    spread: float

    def at(self, num_samples: int) -> tuple[float, float, float]:
        """Return the predicted correlation with its 90 % interval.

        The interval combines the scatter of the test samples with half of the change
        from extrapolating beyond the available samples.

        Args:
            num_samples: Target samples, at least 1.
        """
        real_number("num_samples", num_samples, at_least=1)
        error = self.asymptote + self.slope * num_samples**-0.5
        here = self.asymptote + self.slope * float(self.num_samples[-1]) ** -0.5
        half = 1.64 * math.hypot(self.spread, 0.5 * (error - here))
        low, high = max(1 - error - half, -1.0), min(1 - error + half, 1.0)
        return 1.0 - error, low, high

    def samples_for(self, correlation: float) -> int | None:
        """Return how many samples reach a correlation, None if no number does.

        Args:
            correlation: Between 0 and 1.
        """
        real_number("correlation", correlation, above=0, below=1)
        room = 1.0 - correlation - self.asymptote
        if room <= 0.0 or self.slope <= 0.0:
            reached = 1.0 - self.asymptote - self.slope >= correlation
            return 1 if reached else None
        return max(1, math.ceil((self.slope / room) ** 2))

    def __repr__(self) -> str:
        """Return a sentence on whether more data would help, and how much."""
        number = round(float(self.num_samples[-1]))
        here, (there, low, high) = self.at(number)[0], self.at(4 * number)
        last = float(self.correlations[-1])
        outlook = "would help" if there - here >= NOT_WORTH else "would no longer help"
        return (
            f"The forecast with {number} target samples is {last:.3f}. With four times "
            f"as many, {4 * number}, it is {there:.3f} (90 % interval {low:.3f} to "
            f"{high:.3f}), with any number at most {1.0 - self.asymptote:.3f}: more "
            f"data {outlook}."
        )

    def plot(self, ax: Any = None) -> Any:
        """Plot the trials and the curve up to ten times the samples; return the axes.

        Args:
            ax: Matplotlib axes to draw on; new ones if not given.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        first, last = float(self.num_samples[0]), float(self.num_samples[-1])
        counts = np.geomspace(first, 10.0 * last, 50)
        curve = 1.0 - self.asymptote - self.slope * counts**-0.5
        lines = {
            "measured": (self.num_samples, self.correlations),
            "a + b / sqrt(n)": (counts, curve),
        }
        labels = "target samples", "correlation on unseen target samples"
        plot = keras_spectral_tl.plotting.plot_curves
        return plot({"": lines}, *labels, "x", ax=ax)[0]


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Forecast(AsJson):
    """Predictions for every arm, made before any retraining; printing shows a table.

    Attributes:
        rows: The arms, highest predicted correlation first.
        best: The arm to choose: that with the highest correlation, or none (or the
            output gain alone) if this is behind by less than .002.
        reason: Text with the advice, its certainty, the expected accuracy, and the
            wavenumbers at which error is removed.
        abstained: Whether the best arms are indistinguishable.
        ties: Labels of the arms that are indistinguishable from the best.
        spectra: Mean spectrum of the error on held-out samples, "before" and "after"
            the best arm, and of the true outputs of both "systems"; only for fields.
        provenance: Numbers and hashes of samples and weights, source and number of
            `groups`, seed, versions, passes.
    """

    rows: tuple[ArmForecast, ...]
    best: Arm
    reason: str
    abstained: bool
    ties: tuple[str, ...]
    spectra: Mapping[str, Any]
    provenance: Mapping[str, Any]
    _recipes: Mapping[str, dict[str, Any] | None]
    _curve: Callable[[str], SampleCurve]

    def __getitem__(self, label: str) -> ArmForecast:
        """Return the row of an arm.

        Raises:
            KeyError: For an unknown label; the message lists them.
        """
        for row in self.rows:
            if row.label == label:
                return row
        known = [row.label for row in self.rows]
        raise KeyError(f"there is no arm {label!r}; forecast: {known}.")

    @property
    def best_row(self) -> ArmForecast:
        """The row of the best arm."""
        return self[self.provenance["best"]]

    @property
    def recipe(self) -> dict[str, Any] | None:
        """Keyword arguments of `retrain` for the best arm, None if nothing trains.

        `retrain(model, target_data, **forecast.recipe)` runs the forecast retraining.
        """
        return self.recipe_for(self.provenance["best"])

    def recipe_for(self, label: str) -> dict[str, Any] | None:
        """Return the keyword arguments of `retrain` for an arm, None if nothing trains.

        Args:
            label: Label of the arm.

        Raises:
            KeyError: For an unknown label.
        """
        recipe = self._recipes[self[label].label]
        return None if recipe is None else dict(recipe)

    def measure(
        self,
        model: keras.Model,
        target_data: Any,
        test_data: Any,
        *,
        arms: Sequence[str] | None = None,
        base_test: Any = None,
        directory: str | os.PathLike[str] | None = None,
        **sweep_options: Any,
    ) -> SweepResult:
        """Retrain arms by their recipes and test them, to compare with the forecast.

        `forecast.plot(measured=result)` draws both and `forecast.to_frame(result)`
        has them side by side.

        Args:
            model: The network of the forecast; not changed.
            target_data: The target samples of the forecast.
            test_data: Unseen test samples of the same kind.
            arms: Labels of the arms; None means all.
            base_test: Samples of the base system in the units of the network; adds the
                correlation on them to each row as base_correlation.
            directory: Folder that keeps each finished row, see `oracle_sweep`.
            **sweep_options: progress, executor, cache and rate_factors of
                `oracle_sweep`.

        Returns:
            One row per arm, as in `oracle_sweep`, the best forecast first.

        Raises:
            KeyError: For an unknown label.
            ValueError: If the network or the samples are not those of the forecast.
        """
        rows = self.rows if arms is None else [self[label] for label in arms]
        # Read once: a generator cannot be read again.
        target = Samples.of(target_data, "target_data")
        test = Samples.of(test_data, "test_data")
        self._check_question(model, target)
        found: dict[str, Mapping[str, Any]] = {}
        weights: dict[str, Weights] = {}
        for name in dict.fromkeys(row.normalization for row in rows):
            some = [row for row in rows if row.normalization == name]
            swept = oracle_sweep(
                model,
                target,
                test,
                arms=[self._as_in_recipe(row) for row in some],
                base_test=base_test,
                directory=directory and pathlib.Path(directory, name),
                **self._options(name),
                **sweep_options,
            )
            found |= {row["layer"]: row for row in swept.rows}
            weights |= swept.weights
        return SweepResult(tuple(found[row.label] for row in rows), weights)

    def _check_question(self, model: keras.Model, target: Samples) -> None:
        """Raise ValueError if network or samples are not those of the forecast."""
        for name, what, value in (
            ("weights", "network", layer_hashes(model)),
            ("target_data", "target samples", target.fingerprint()),
        ):
            if value != self.provenance[f"{name}_sha256"]:
                raise ValueError(
                    f"Expected the {what} of the forecast. Received others, with "
                    f"another SHA-256 of {name}: make a forecast of these, or pass "
                    "those of the forecast."
                )

    def _as_in_recipe(self, row: ArmForecast) -> Arm:
        """Return an arm together with the output gain from which its recipe starts."""
        recipe = self._recipes[row.label]
        layers = () if recipe is None else recipe["layers"]
        return Arm(row.label, layers, row.arm.pull)

    def _options(self, normalization: str) -> dict[str, Any]:
        """Return the options of `oracle_sweep` common to arms of one normalization.

        Their recipes differ only in what trains, in the pull and in the rate.
        """
        found: dict[str, Any] = {"seed": self.provenance["seed"], "rates": {}}
        for row in self.rows:
            recipe = self.recipe_for(row.label)
            if recipe is not None and row.normalization == normalization:
                found |= {k: recipe[k] for k in recipe if k not in ("layers", "pull")}
                found["rates"][row.label] = recipe["optimizer"]
        return found

    def sample_curve(self, label: str | None = None) -> SampleCurve:
        """Return the error of an arm against the number of target samples.

        Each call runs trials with a quarter, a half and all of the fitted samples, so
        it takes about as long as three trials of the arm. The curve of an arm that
        trains nothing is flat.

        Args:
            label: Label of the arm; None for the best.

        Raises:
            KeyError: For an unknown label.
            ValueError: For fewer than four target samples, if the arm trains, or if the
                network has changed since the forecast.
        """
        row = self.best_row if label is None else self[label]
        return self._curve(row.label)

    def samples_for(self, correlation: float, label: str | None = None) -> int | None:
        """Return how many target samples an arm needs to reach a correlation.

        None if no number is enough; see `SampleCurve`.

        Args:
            correlation: Between 0 and 1.
            label: Label of the arm; None for the best.
        """
        return self.sample_curve(label).samples_for(correlation)

    def to_frame(
        self, measured: SweepResult | Mapping[str, float] | None = None
    ) -> Any:
        """Return a pandas.DataFrame with a row per arm, by label, the best first.

        Args:
            measured: What `measure` or `oracle_sweep` returned, or label of an arm to
                the correlation it gave. Adds the columns measured and inside (the 90 %
                interval), None for arms that were not measured.

        Raises:
            ImportError: If pandas is not installed.
        """
        pandas = require("pandas", "Data frames", "pandas")
        rows = {row.label: row.row() for row in self.rows}
        if measured is not None:
            known = _correlations(measured)
            for label, row in rows.items():
                found = row["measured"] = known.get(label)
                low, high = row["correlation_low"], row["correlation_high"]
                row["inside"] = None if found is None else low <= found <= high
        return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("arm")

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "best": self.provenance["best"],
            "reason": self.reason,
            "abstained": self.abstained,
            "ties": list(self.ties),
            "arms": {row.label: as_lists(row.row()) for row in self.rows},
            "recipes": {row.label: self._plain_recipe(row) for row in self.rows},
            "spectra": as_lists(self.spectra),
            "provenance": as_lists(self.provenance),
        }

    def _plain_recipe(self, row: ArmForecast) -> dict[str, Any] | None:
        """Return the recipe of an arm as plain values; None if nothing trains."""
        recipe = self._recipes.get(row.label)
        if recipe is None:
            return None
        epsilon = getattr(recipe["optimizer"], "epsilon", 1.0)
        return {
            "layers": layers_to_json(recipe["layers"]),
            "learning_rate": float(row.learning_rate),
            "steps": int(row.steps),
            "epochs": int(recipe["epochs"]),
            "batch_size": int(row.batch_size),
            "pull": float(row.arm.pull),
            # Of a target in small units, see `epsilon_of`.
            **({"epsilon": float(epsilon)} if epsilon < 1e-7 else {}),
        }

    def plot(
        self,
        measured: SweepResult | Mapping[str, float] | None = None,
        ax: Any = None,
    ) -> Any:
        """Plot the correlation of each arm with its interval; return the axes.

        Args:
            measured: What `measure` or `oracle_sweep` returned, or label of an arm to
                the correlation it gave; what is not forecast is not drawn.
            ax: Matplotlib axes to draw on; new ones if not given.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        known = None if measured is None else _correlations(measured)
        return keras_spectral_tl.plotting.plot_forecast(self, known, ax=ax)

    def __repr__(self) -> str:
        """Return the reason and a table of the arms, at most 25 lines.

        The best arm and the unchanged network are always included; a long reason is
        cut and ends in dots.
        """
        more = " ... (all of it: .reason)"
        text = textwrap.wrap(self.reason, 80, max_lines=_LINES, placeholder=more)
        shown = self._shown(_ROWS if len(text) < _LINES else _ROWS - 1)
        width = max(len("arm"), *(len(row.label) for row in shown))
        head = f"{'arm':{width}}  correlation  90 % interval   on the base   weights"
        lines = [head]
        for row in shown:
            base = row.base_correlation
            known = as_cc(base) if np.isfinite(base) else "-"
            mark = "  <- best" if row.label == self.provenance["best"] else ""
            low, high = map(as_cc, (row.correlation_low, row.correlation_high))
            lines.append(
                f"{row.label:{width}}  {as_cc(row.correlation):>11}  "
                f"{f'{low:>5} to {high}':14}   {known:>11} {row.parameters:9,d}{mark}"
            )
        if len(self.rows) > len(shown):
            hidden = len(self.rows) - len(shown)
            lines.append(
                f"... and {hidden} more arms (all of them: .rows, .to_frame())"
            )
        return "\n".join([*text, "", *lines])

    def _shown(self, count: int) -> list[ArmForecast]:
        """Return the first rows, always with the best and the unchanged network."""
        best = self.best_row
        unchanged = (
            row.label
            for row in self.rows
            if not row.arm.trains and row.normalization == best.normalization
        )
        labels = dict.fromkeys([best.label, *list(unchanged)[:1]])
        others = [row.label for row in self.rows if row.label not in labels]
        labels |= dict.fromkeys(others[: count - len(labels)])
        return [row for row in self.rows if row.label in labels]


def _correlations(
    measured: SweepResult | Mapping[str, float],
) -> Mapping[str, float]:
    """Return measured correlations by label."""
    return measured.cc if isinstance(measured, SweepResult) else measured
