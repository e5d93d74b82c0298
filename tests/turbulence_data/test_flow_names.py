"""Names of own flows: directories in the data directory that TFDS can load."""

import pytest
import tensorflow_datasets as tfds

from turbulence_data import Builder, EnsembleConfig, FlowConfig, TurbulenceConfig
from turbulence_data.__main__ import main
from turbulence_data.generation import InProcessExecutor

ENSEMBLE = EnsembleConfig(
    flow=FlowConfig(16, reynolds=100.0),
    num_points_les=8,
    num_trajectories=(1, 1, 1),
    num_snapshots=1,
    spin_up=0.02,
    interval=0.01,
    time_step=0.01,
)
LONGEST = "n" * 100
WRONG = [
    *("../../evil", "..", ".", "", "/evil", "a/b", "a\\b", "a:b", "a*b", "a=b", "[x]"),
    *("with space", "a\nb", "a\n", "a\0b", ".hidden", "-option", "\ud800"),
    *(LONGEST + "n", "é" * 51, None, 5),
]


@pytest.mark.parametrize("name", WRONG, ids=repr)
def test_a_name_that_cannot_be_loaded_is_refused(name):
    with pytest.raises(ValueError, match="the name of a flow must be letters"):
        TurbulenceConfig(name=name, ensemble=ENSEMBLE)


@pytest.mark.parametrize("name", ["größe-2.1_a", "7", LONGEST])
def test_a_flow_of_an_allowed_name_is_loaded_by_it(name, tmp_path):
    config = TurbulenceConfig(name=name, ensemble=ENSEMBLE)
    builder = Builder(config=config, data_dir=tmp_path, executor=InProcessExecutor())
    builder.download_and_prepare()
    (folder,) = (tmp_path / "turbulence_data").glob("*/*/dataset_info.json")
    assert folder.parent.parent.name == name
    made = tfds.load(f"turbulence_data/{name}", data_dir=tmp_path, split="train")
    assert len(made) == 1


@pytest.mark.parametrize("command", ["generate", "info"])
def test_flows_outside_the_data_directory_are_not_opened(command, tmp_path, capsys):
    inside = TurbulenceConfig(name="evil", ensemble=ENSEMBLE)
    made = Builder(config=inside, data_dir=tmp_path, executor=InProcessExecutor())
    made.download_and_prepare()
    place = ["--data-dir", str(tmp_path / "other")]
    name = "../../turbulence_data/evil"
    assert main([command, name, *place]) == 2
    assert f"received {name!r}" in capsys.readouterr().err
    with pytest.raises(ValueError, match="the name of a flow must be"):
        Builder(config=name, data_dir=tmp_path / "other")
