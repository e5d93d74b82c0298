"""The example with models of one's own: what was chosen moves, all candidates run."""

import importlib.util
from pathlib import Path

import pytest
from keras.src.trainers.trainer import Trainer

SCRIPT = Path(__file__).parent.parent.parent / "examples" / "own_model.py"
COMPILE = Trainer.compile


def compiled(trainer, *arguments, **options):
    """For a few steps, compiling networks of this depth takes most of the time."""
    COMPILE(trainer, *arguments, **{"run_eagerly": True} | options)


@pytest.mark.slow
def test_both_models_go_through_the_workflow(monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("own_model", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "EPOCHS", 1)
    monkeypatch.setattr(Trainer, "compile", compiled)
    module.main()
    lines = capsys.readouterr().out.splitlines()
    moved = [line for line in lines if line.startswith("moved: ")]
    assert moved[0] == "moved: bottom/kernel, up/kernel, up/bias"
    chosen = ("conv_pw_13_bn/", "conv_preds/")
    assert all(path.startswith(chosen) for path in moved[1][7:].split(", "))
    rows = [line.split()[0] for line in lines if "relative rmse" in line]
    assert rows == [
        *("down", "bottom", "norm", "up", "out", "bottom+up", "unchanged", "gain_only"),
        *("conv_pw_12", "conv_pw_13", "conv_preds", "unchanged", "gain_only"),
    ]
