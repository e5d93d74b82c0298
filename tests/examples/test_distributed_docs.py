"""The script of docs/distributed.md runs as printed and gives the usual content."""

import os
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

from turbulence_data import named_flow
from turbulence_data.generation import content_hash, sample_trajectory
from turbulence_data.generation._ensemble import SPLITS
from turbulence_data.generation._trajectory import examples_of

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "distributed.md"


@pytest.mark.slow
def test_the_dask_script_makes_the_content_of_one_process(tmp_path):
    (block,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    script = tmp_path / "generate.py"
    script.write_text(block)
    path = os.pathsep.join(filter(None, sys.path))
    result = subprocess.run(
        [sys.executable, script],
        env=os.environ | {"TFDS_DATA_DIR": str(tmp_path / "data"), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    ensemble = named_flow("tiny_forced_re2e2_kf4")
    expected = content_hash(
        example
        for number in chain.from_iterable(map(ensemble.trajectory_ids, SPLITS))
        for example in examples_of(ensemble, sample_trajectory(ensemble, number))
    )
    assert result.stdout.split()[-1] == expected
