"""The retrained network: what moved, and what that did to its spectra."""

from typing import Any

from keras_spectral_tl.reporting.axis import Axis
from keras_spectral_tl.reporting.blocks import Chart, Section, Series, Table
from keras_spectral_tl.reporting.study import Study

_TITLE = "The retrained layer, before and after"


def retrained(study: Study) -> Section:
    """Proof by hash, training history, kernels and activations."""
    result, spectra = study.retraining, study.spectra
    if not result and not spectra:
        return Section("retrained", _TITLE, ("No layer was retrained and kept.",))
    text = []
    blocks: list[Chart | Table] = []
    if result:
        text.append(_what_moved(result))
        blocks += [_history(result["history"]), _hashes(result)]
    chosen = [name for name in result.get("trained", ()) if name in _layers(spectra)]
    blocks += [c for name in chosen or _layers(spectra) for c in _charts(spectra, name)]
    if spectra:
        text.append(
            "Kernels: mean over all kernels of |F[kernel]|, a shell mean. Activations: "
            "before the nonlinearity, mean over channels and samples, a shell sum."
        )
    return Section("retrained", _TITLE, tuple(text), tuple(blocks))


def _what_moved(result: Any) -> str:
    changed, total = result["changed"], result["hashes_before"]
    return (
        f"Trained: {', '.join(result['trained'])} ({result['num_trainable']} of "
        f"{result['num_trainable'] + result['num_frozen']} weights, "
        f"{result['seconds']:.1f} s). Changed by SHA-256: "
        f"{', '.join(changed) or 'none'}; the other {len(total) - len(changed)} layers "
        "are the same bit for bit."
    )


def _history(history: Any) -> Chart:
    series = tuple(
        Series(name.replace("_", " "), [float(i + 1) for i in range(len(v))], v)
        for name, v in history.items()
        if "loss" in name
    )
    return Chart(
        "training",
        Axis.around("epoch", [x for s in series for x in s.x]),
        Axis.around("loss", [y for s in series for y in s.y], True),
        series,
    )


def _hashes(result: Any) -> Table:
    after = result["hashes_after"]
    rows = tuple(
        (name, before[:16], after[name][:16], "no" if before == after[name] else "yes")
        for name, before in result["hashes_before"].items()
    )
    marked = tuple(i for i, row in enumerate(rows) if row[-1] == "yes")
    columns = ("layer", "SHA-256 before", "after", "changed")
    return Table("Weights, first digits of their hashes", columns, rows, marked)


def _layers(spectra: Any) -> list[str]:
    kinds = ("kernels", "activations")
    return list(dict.fromkeys(n for kind in kinds for n in spectra.get(kind, {})))


def _charts(spectra: Any, layer: str) -> list[Chart]:
    titles = {"kernels": "|F[kernel]|", "activations": "spectrum"}
    return [
        Chart.of_spectra(f"{layer}, {kind}", spectra[kind][layer], label)
        for kind, label in titles.items()
        if layer in spectra.get(kind, {})
    ]
