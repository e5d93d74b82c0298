"""Results: a retrained model with hashes and provenance, and the table of a sweep."""

import dataclasses
import json
import math
import os
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

import keras_spectral_tl
from keras_spectral_tl._checks import did_you_mean, require
from keras_spectral_tl._files import plain, replacing, sha256, write_json
from keras_spectral_tl._graph.calls import check_names
from keras_spectral_tl._graph.copies import copy_model, unmasked
from keras_spectral_tl._graph.feeding import predicted
from keras_spectral_tl._graph.layers import ModelLayers, own_weights
from keras_spectral_tl._results import AsJson, as_lists, versions
from keras_spectral_tl.freezing._saved_flags import (
    flags_to_save,
    load_with_flags,
    save_with_flags,
)
from keras_spectral_tl.freezing._selection import LayerSelection
from keras_spectral_tl.metrics import pattern_correlation, relative_rmse
from keras_spectral_tl.transfer._options import RetrainOptions
from keras_spectral_tl.transfer._samples import Samples
from keras_spectral_tl.transfer._statistics import channel_axis

MODEL, RECORD = "model.keras", "retraining.json"
Metric = Callable[[Any, Any], float]
Weights = Mapping[str, Sequence[NDArray[Any]]]
_MOST_ROWS = 20  # that a printed sweep shows


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class RetrainResult(AsJson):
    """A retrained model with hashes that prove which weights changed.

    Attributes:
        model: The new model, compiled, with the `trainable` flags of the training.
        history: Per-epoch values as Keras records them.
        trained: Names of the layers that were trainable (names of the input model).
        hashes_before: SHA-256 of each layer of the input model.
        hashes_after: SHA-256 of each layer of the new model, under the same names.
        num_trainable: Number of parameters that were trainable.
        num_frozen: Number of all other parameters of the input model.
        seconds: Wall time of the training, compilation included.
        label: Name for a row of a table.
        weight_hashes_before: SHA-256 of each single weight of the input model, by path.
        weight_hashes_after: Likewise of the new model, under the paths of the input
            model; weights it has in addition (a low-rank update, an output gain) are
            here only.
        normalization: Statistics that normalize target data, or None.
        weights: Weights of the points of a sample in figures of merit, as in the loss;
            None if all count the same.
        provenance: Versions, backend, seed, hash of the data, choices and options.
    """

    model: keras.Model
    history: Mapping[str, list[float]]
    trained: tuple[str, ...]
    hashes_before: Mapping[str, str]
    hashes_after: Mapping[str, str]
    num_trainable: int
    num_frozen: int
    seconds: float
    label: str
    weight_hashes_before: Mapping[str, str] = dataclasses.field(default_factory=dict)
    weight_hashes_after: Mapping[str, str] = dataclasses.field(default_factory=dict)
    normalization: Any = None
    weights: NDArray[np.float64] | None = None
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def changed(self) -> tuple[str, ...]:
        """Names of the layers whose weights changed."""
        return _differing(self.hashes_before, self.hashes_after)

    @property
    def changed_weights(self) -> tuple[str, ...]:
        """Paths of the weights of the input model whose values changed."""
        return _differing(self.weight_hashes_before, self.weight_hashes_after)

    @property
    def best_epoch(self) -> int | None:
        """Epoch, from 0, with the lowest loss on held-out samples; None without any."""
        held_out = np.array(self.history.get("val_loss", ()))
        return None if np.isnan(held_out).all() else int(np.nanargmin(held_out))

    def __repr__(self) -> str:
        losses = self.history.get("loss", [])
        moved = f", loss {losses[0]:.4g} to {losses[-1]:.4g}" if losses else ""
        changed = ", ".join(self.changed[:5]) or "nothing"
        if len(self.changed) > 5:
            changed += f" and {len(self.changed) - 5} others"
        return (
            f"RetrainResult({_short(self.label, 60)!r}: {len(losses)} epochs{moved}; "
            f"changed {changed}; {self.num_trainable:,} "
            f"parameters trained, {self.num_frozen:,} frozen; {self.seconds:.1f} s)"
        )

    def figures_of_merit(
        self,
        test_data: Any,
        batch_size: int = 32,
        extra: Mapping[str, Metric] | None = None,
    ) -> dict[str, float]:
        """Evaluate the model on `(x, y)` and return its scores by name.

        If the training normalized its data, these inputs are normalized likewise, and
        the outputs are converted back to the units of `y` before the comparison; of
        several output channels cc and relative_rmse are in normalized units.
        Normalized samples are compared in normalized units.

        Args:
            test_data: Samples, raw or normalized by the statistics of the training.
            batch_size: Samples evaluated at a time.
            extra: Further scores: functions of (true, predicted outputs), by name.

        Returns:
            cc (`metrics.pattern_correlation`; over all samples if each holds a single
            value, and nan of one value alone), relative_rmse, and the extra scores.
            Outputs that the model masks, such as padded steps, and labels of no class
            do not count; for the extra scores they are 0, as is the truth there.

        Raises:
            ValueError: If the samples were normalized by other statistics, or their
                inputs have other names than those of the model.
        """
        test = Samples.of(test_data, "test_data")
        check_names(self.model, test.x)
        x = test.normalized(self.normalization).x
        outputs = predicted(self.model, x, batch_size)
        weights = unmasked(self.model, x, self.weights, batch_size)
        return measured(test, outputs, self.normalization, extra, weights)

    def row(self, test_data: Any, batch_size: int = 32) -> dict[str, Any]:
        """Evaluate the model on `(x, y)` and return one row of a table.

        Returns:
            layer (the label), cc (`metrics.pattern_correlation`), relative_rmse,
            num_parameters (the number trained) and seconds.
        """
        return {
            "layer": self.label,
            **self.figures_of_merit(test_data, batch_size),
            "num_parameters": self.num_trainable,
            "seconds": self.seconds,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the model, and which weights train, as plain values."""
        names = (
            *("label", "trained", "changed", "changed_weights", "best_epoch"),
            *("num_trainable", "num_frozen", "seconds", "history"),
            *("hashes_before", "hashes_after"),
            *("weight_hashes_before", "weight_hashes_after", "provenance"),
        )
        found = {name: as_lists(getattr(self, name)) for name in names}
        return found | {"trainable_weights": flags_to_save(self.model)}

    def to_frame(self) -> Any:
        """Return the history as a pandas.DataFrame, one row an epoch.

        Raises:
            ImportError: If pandas is not installed.
        """
        pandas = require("pandas", "Data frames", "pandas")
        return pandas.DataFrame(dict(self.history)).rename_axis("epoch")

    def plot(self, ax: Any = None) -> Any:
        """Draw the losses by epoch and return the matplotlib axes.

        Args:
            ax: Axes to draw into; None means new ones.

        Raises:
            ImportError: If matplotlib is not installed.
            ValueError: If there are no losses, as for a gain in closed form.
        """
        losses = {
            name: (np.flatnonzero(~np.isnan(values)), values[~np.isnan(values)])
            for name in ("loss", "val_loss")
            if (values := np.array(self.history.get(name, ()))).size
        }
        panel = {f"{self.label} retrained": losses}
        return keras_spectral_tl.plotting.plot_curves(panel, "epoch", "loss", ax=ax)[0]

    def save(self, folder: str | os.PathLike[str]) -> pathlib.Path:
        """Write `model.keras` and `retraining.json` into `folder` and return it.

        The folder is created if needed; each file is written completely or not at all.
        The record holds the SHA-256 of the model's file, which `load_retrained` checks,
        and which weights train, which it restores: Keras files hold only part of that.
        Keras saves a low-rank update merged into its kernel. If only parts of layers
        were trained, the model is saved without its optimizer: Keras alone fails to
        load an optimizer that holds only some of the weights of a layer.
        """
        target = pathlib.Path(folder)
        with replacing(target / MODEL) as partial:
            save_with_flags(self.model, partial)
        digest = sha256(target / MODEL)
        write_json(target / RECORD, {**self.to_dict(), "model_sha256": digest})
        return target


def _short(label: str, length: int) -> str:
    return label if len(label) <= length else f"{label[: length - 3]}..."


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SweepResult(AsJson):
    """Table of a sweep: one row per layer, combination of layers or arm.

    Attributes:
        rows: Dicts with layer (or the label of an arm), cc, relative_rmse,
            num_parameters and seconds (of the training alone): single layers in the
            order of the model, then combinations in the order in which they were
            requested. `oracle_sweep` describes further columns.
        weights: For each row, under its `layer`, the trained weights by layer name;
            rows whose weights do not fit the model are left out.
    """

    rows: tuple[Mapping[str, Any], ...]
    weights: Mapping[str, Weights] = dataclasses.field(default_factory=dict)

    @property
    def cc(self) -> dict[str, float]:
        """Pattern correlation on the test data by layer name."""
        return {row["layer"]: row["cc"] for row in self.rows}

    @property
    def best(self) -> str:
        """The layer with the highest correlation; ties go to the smallest error."""
        return str(max(self.rows, key=quality)["layer"])

    def __repr__(self) -> str:
        lines = [f"{'layer':24}    CC  relative RMSE  parameters"]
        for row in sorted(self.rows, key=quality, reverse=True)[:_MOST_ROWS]:
            lines.append(
                f"{_short(row['layer'], 40):24} {row['cc']:5.3f}  "
                f"{row['relative_rmse']:13.3f}  "
                f"{row.get('num_parameters', 0):10,}"
            )
        if len(self.rows) > _MOST_ROWS:
            lines.append(f"... {len(self.rows) - _MOST_ROWS} more; see .to_frame()")
        return "\n".join(lines)

    def model(self, original: keras.Model, layer: str | None = None) -> keras.Model:
        """Return a copy of the original model with the weights of one row.

        Args:
            original: The model given to the sweep.
            layer: The `layer` of a row; None means `best`.

        Raises:
            KeyError: If there is no such row, or it keeps no weights; the message
                says how to get that model.
        """
        label = self.best if layer is None else layer
        if label not in self.weights:
            raise KeyError(self._without_weights(label))
        copy = copy_model(original)
        layers = ModelLayers.of(original).of_copy(copy).layers
        for name, values in self.weights[label].items():
            own = own_weights(layers[name])
            for variable, value in zip(own, values, strict=True):
                variable.assign(value)
        return copy

    def _without_weights(self, label: str) -> str:
        kept = f"It has those of: {', '.join(self.weights) or 'none'}."
        if label not in self.cc:
            return (
                f"The sweep has no row and no weights for {label!r}. {kept}"
                f"{did_you_mean(label, self.weights)}"
            )
        return (
            f"The sweep has no weights for {label!r}: rows of baselines keep none, nor "
            "do arms that add weights to the model (FiltersOf, OutputGain, ...) or "
            f"reinitialize them, nor sweeps with RefitNormalizationLayers. {kept} "
            "Retrain that arm: retrain(model, target_data, arm.layers, ...).model, or "
            f"retrain(model, target_data, **forecast.recipe_for({label!r})).model."
        )

    def to_frame(self) -> Any:
        """Return the rows as a pandas.DataFrame, indexed by their label.

        Raises:
            ImportError: If pandas is not installed.
        """
        pandas = require("pandas", "Data frames", "pandas")
        frame = pandas.DataFrame([dict(row) for row in self.rows])
        return frame.set_index("layer", drop=False).rename_axis("label")

    def to_dict(self) -> dict[str, Any]:
        """Return the best layer and the rows, without weights, as plain values."""
        return {"best": self.best, "rows": [dict(row) for row in self.rows]}

    def plot(self, ax: Any = None) -> Any:
        """Draw the correlation of each row as a bar and return the matplotlib axes.

        Args:
            ax: Axes to draw into; None means new ones.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        label = "pattern correlation on the test data"
        return keras_spectral_tl.plotting._scores.plot_bars(self.cc, label, ax=ax)


def load_retrained(
    folder: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None
) -> keras.Model:
    """Load the model that `RetrainResult.save` wrote, after checking its SHA-256.

    The check ensures that it is the recorded model, bit for bit. The safe mode of Keras
    is on: a model that contains code (a Lambda layer) is refused.

    Args:
        folder: Folder in which it was saved.
        custom_objects: Your own classes by name, as in `keras.models.load_model`.

    Returns:
        The model with the same weights trainable, without low-rank updates, which
        `save` merges. It is compiled, with the moments of its optimizer, unless only
        parts of layers were trained, of which `save` keeps no optimizer.

    Raises:
        FileNotFoundError: If the folder does not hold both files.
        ValueError: If the file is not the one that its record describes.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from keras_spectral_tl import build_sgs_cnn, retrain
        >>> model = build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
        >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = retrain(model, (x, x[..., :1]), "conv_2", epochs=1).save(folder)
        ...     load_retrained(folder).output_shape
        (None, 8, 8, 1)
    """
    place = pathlib.Path(folder)
    _check_holds_both(place)
    content = (place / MODEL).read_bytes()
    expected, flags = _recorded(place / RECORD)
    found = sha256(content)
    if found != expected:
        raise ValueError(
            f"{place / MODEL} is damaged, or not the model of {RECORD} beside it: "
            f"expected SHA-256 {expected}, received {found}. Take a copy that is "
            "whole, or save the result of the retraining again."
        )
    with tempfile.TemporaryDirectory() as own:  # load the very bytes that were checked
        path = pathlib.Path(own) / MODEL
        path.write_bytes(content)
        if flags is None:  # saved before these were recorded
            return keras.models.load_model(path, custom_objects=custom_objects)
        return load_with_flags(path, flags, custom_objects)


def measured(
    test: Samples,
    outputs: NDArray[Any],
    statistics: Any,
    extra: Mapping[str, Metric] | None = None,
    weights: NDArray[np.float64] | None = None,
) -> dict[str, float]:
    """Return the scores of `RetrainResult.figures_of_merit`.

    `statistics` normalized the inputs of the network that gave the outputs, or None;
    `weights` are those of the points of a sample or, of outputs with a mask, of all
    points; samples that are masked as a whole are left out.
    """
    counted, shape = None, np.shape(outputs)
    if labels := is_labels_of(test.y, shape):
        known = (test.y >= 0) & (test.y < shape[-1])
        if not known.all():  # a loss ignores the others
            known = known.reshape(*shape[:-1], 1)
            weights = known * (np.ones(shape) if weights is None else weights)
    if weights is not None and weights.ndim == len(shape):
        weights = np.broadcast_to(weights, shape)
        rows = np.flatnonzero(weights.reshape(len(weights), -1).any(axis=1))
        test, outputs, weights = test.subset(rows), outputs[rows], weights[rows]
        counted = weights > 0.0
    truth, shape, compared = test.y, np.shape(outputs), []
    if statistics is not None and test.statistics is None:
        normalized = test.normalized(statistics)
        axis = channel_axis(statistics, len(shape))
        if len(shape) > 1 and shape[axis] > 1 and not labels:
            compared = [normalized.y, outputs]
        _, outputs = statistics.denormalize(normalized.x, outputs)
    if labels:
        classes = np.clip(truth, 0, shape[-1] - 1)
        truth = np.eye(shape[-1])[classes.reshape(shape[:-1])]
    compared = compared or [truth, outputs]
    if np.size(truth) == len(truth):  # a correlation needs more than one value
        compared, weights = [np.reshape(part, (1, -1)) for part in compared], None
    pair, defined = (compared[0], compared[1]), np.size(truth) > 1
    found = {"cc": pattern_correlation(*pair, weights) if defined else math.nan}
    found["relative_rmse"] = relative_rmse(*pair, weights)
    for name, figure in (extra or {}).items():
        parts = truth, outputs
        if counted is not None:
            parts = np.where(counted, truth, 0.0), np.where(counted, outputs, 0.0)
        found[name] = float(figure(*parts))
    return found


def is_labels_of(y: NDArray[Any], output_shape: tuple[int, ...]) -> bool:
    """Return whether y holds integer class labels for outputs of this shape."""
    classes = output_shape[1:]
    labels = y.shape[1:] in (classes[:-1], (*classes[:-1], 1))
    return y.dtype.kind in "iu" and bool(classes) and classes[-1] > 1 and labels


def provenance(
    data: Samples,
    selection: LayerSelection,
    options: RetrainOptions,
    optimizer: keras.optimizers.Optimizer,
) -> dict[str, Any]:
    """Return versions, data, choices and options of one retraining, for JSON."""
    replay = options.replay
    config = plain(optimizer.get_config())
    config.pop("name", None)  # Keras numbers the optimizers of a process in it
    return {
        "versions": versions(),
        "backend": keras.backend.backend(),
        "floatx": keras.config.floatx(),
        "seed": options.seed,
        "data": {
            "sha256": data.fingerprint(),
            "num_samples": len(data),
            "normalization": plain(options.normalization),
            "statistics": plain(data.statistics),
            "symmetries": [repr(symmetry) for symmetry in options.symmetries],
            "replay_sha256": None if replay is None else replay.fingerprint(),
            "num_replay": 0 if replay is None else len(replay),
        },
        "layers": list(selection.names),
        "weights": list(selection.variables),
        "statistics": list(selection.statistics),
        "num_trainable": selection.num_trainable,
        "num_frozen": selection.num_frozen,
        "optimizer": {"class": type(optimizer).__name__, "config": config},
        "loss": plain(options.loss),
        "compile_options": plain(dict(options.compile_options)),
        "fit_options": plain(dict(options.fit_options)),
        "early_stopping": plain(options.early_stopping),
        "learning_rates": plain(options.learning_rates),
        "pull": float(options.pull),
    }


def quality(row: Mapping[str, Any]) -> tuple[float, float]:
    """Return the sort key of a row: its correlation, then its negative error."""
    cc, error = row["cc"], row.get("relative_rmse", math.inf)
    return (
        -math.inf if math.isnan(cc) else cc,
        -math.inf if math.isnan(error) else -error,
    )


def _check_holds_both(folder: pathlib.Path) -> None:
    lacks = [name for name in (MODEL, RECORD) if not (folder / name).is_file()]
    if not lacks:
        return
    what = f"lacks {' and '.join(lacks)}" if folder.is_dir() else "does not exist"
    if folder.is_file():
        what = "is a file: pass its folder, or read it by keras.models.load_model"
    raise FileNotFoundError(
        f"Expected a folder with {MODEL} and {RECORD}, as RetrainResult.save(folder) "
        f"writes it. Received {os.fspath(folder)!r}, which {what}."
    )


def _recorded(record: pathlib.Path) -> tuple[Any, Any]:
    """Return the SHA-256 of the model and which weights train, None if unknown."""
    try:
        document = json.loads(record.read_bytes())
        return document["model_sha256"], document.get("trainable_weights")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{record} is damaged, or older than the checksums of models: expected a "
            f"JSON document with model_sha256, received {type(error).__name__}. Save "
            "the result of the retraining again."
        ) from error


def _differing(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name for name in before if before[name] != after[name])
