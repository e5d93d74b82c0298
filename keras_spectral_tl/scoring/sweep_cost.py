"""What a sweep over layers takes, in the unit of `Cost`."""

from __future__ import annotations

import math
from typing import Any

import keras

from keras_spectral_tl import freezing, introspection
from keras_spectral_tl.scoring.checks import check_whole_number
from keras_spectral_tl.scoring.protocol import Cost, layers_to_score
from keras_spectral_tl.transfer.prefix import LayerGraph


def sweep_cost(
    model: keras.Model,
    num_target: int,
    num_test: int,
    epochs: int,
    input_shape: introspection.SampleShape | None = None,
) -> Cost:
    """Passes of one sample that `oracle_sweep` over all layers takes.

    Everything is counted as forward passes of the whole network by multiply-adds
    (`freezing.TrainingCost`), so `scored.cost.total / sweep_cost(...).total` is the
    share of the sweep that a score costs. The sweep computes the activations before a
    layer once; then each sample of each epoch costs what comes after, backward through
    the layers behind the trained one only. `Cost.total` counts the backward passes of a
    score as two forward ones even where one layer is differentiated, so the share is
    rather too high than too low.

    Args:
        model: a built network.
        num_target: samples retrained with.
        num_test: samples tested on.
        epochs: of each retraining.
        input_shape: shape of one sample, where the model leaves it open.

    Raises:
        ValueError: for a number below 1 (tests may be 0), a model without trainable
            weights, or a shape that is not known.

    Example:
        >>> layers = [keras.layers.Dense(4, name=name) for name in "ab"]
        >>> model = keras.Sequential([keras.Input((4,)), *layers])
        >>> sweep_cost(model, num_target=8, num_test=0, epochs=10).total
        248
    """
    check_whole_number("num_target", num_target, 1)
    check_whole_number("num_test", num_test, 0)
    check_whole_number("epochs", epochs, 1)
    # The activations before all cuts are one forward pass.
    total = float(num_target + num_test)
    for name in layers_to_score(model):
        passes = training_passes(model, name, input_shape)
        after = share_after(model, name, input_shape)
        total += epochs * num_target * passes + num_test * after
    return Cost(forward=math.ceil(total))


def training_passes(
    model: keras.Model,
    layers: freezing.Selector,
    input_shape: introspection.SampleShape | None = None,
) -> float:
    """Forward passes that one sample takes in one step of retraining some layers.

    The activations before them are taken as known where the model has a graph.
    """
    cost = freezing.select_layers(model, layers).cost(input_shape)
    step = cost.step if LayerGraph.of(model) is None else cost.cached_step
    return step / cost.forward


def share_after(
    model: keras.Model,
    layers: freezing.Selector,
    input_shape: introspection.SampleShape | None = None,
) -> float:
    """Share of a forward pass from the layers on; all of it without a graph."""
    if LayerGraph.of(model) is None:
        return 1.0
    cost = freezing.select_layers(model, layers).cost(input_shape)
    return 1.0 - (cost.step - cost.cached_step) / cost.forward


def shape_of_sample(x: Any) -> introspection.SampleShape:
    """The shape of one sample; of several inputs a list of shapes."""
    if isinstance(x, dict | list | tuple):
        return [tuple(part.shape[1:]) for part in keras.tree.flatten(x)]
    return tuple(x.shape[1:])
