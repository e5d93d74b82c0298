"""Two processes asked for the same data at once make them once."""

import os
import subprocess
import sys

import pytest

# The first process stops in its first trajectory until it is told to go on, or killed;
# the second starts when the first holds the lock. Says what the second has done.
SCRIPT = """
import logging, os, pathlib, signal, sys, time
from turbulence_data import (
    Builder, EnsembleConfig, FlowConfig, TurbulenceConfig
)
from turbulence_data.generation import InProcessExecutor

data, end = pathlib.Path(sys.argv[1]), sys.argv[2]
data.mkdir()
ensemble = EnsembleConfig(
    flow=FlowConfig(32, reynolds=100.0), num_points_les=16,
    num_trajectories=(1, 1, 1), num_snapshots=2, spin_up=0.1, interval=0.05,
    time_step=0.01,
)

class Counting(InProcessExecutor):
    count = 0
    def submit(self, *arguments):
        self.count += 1
        return super().submit(*arguments)

class Stopping(InProcessExecutor):
    def submit(self, *arguments):
        (data / "started").touch()
        wait_for(data / "go")
        return super().submit(*arguments)

def wait_for(path):
    while not path.exists():
        time.sleep(0.01)

def generate(executor):
    config = TurbulenceConfig(name="tiny", ensemble=ensemble)
    builder = Builder(config=config, data_dir=data, executor=executor)
    builder.download_and_prepare()
    return builder

class Telling(logging.Handler):
    def emit(self, record):
        (data / "partial").write_text(record.getMessage())
        (data / "partial").rename(data / "message")  # whole as soon as it is there

first = os.fork()
if first == 0:
    generate(Stopping())
    os._exit(0)
wait_for(data / "started")
second = os.fork()
if second == 0:
    logging.getLogger("turbulence_data._files").addHandler(Telling())
    executor = Counting()
    builder = generate(executor)
    number = builder.info.splits["train"].num_examples
    print("\\nsecond", executor.count, number, bool(builder.info.metadata), flush=True)
    os._exit(0)
wait_for(data / "message")
print("\\nfirst", first, (data / "message").read_text(), flush=True)
if end == "killed":
    os.kill(first, signal.SIGKILL)
else:
    (data / "go").touch()
for process in (first, second):
    os.waitpid(process, 0)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("end", "simulated"), [("finished", "0"), ("killed", "3")])
def test_the_second_finds_the_data_or_takes_over(tmp_path, end, simulated):
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "data", end],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    words = [line.split() for line in result.stdout.splitlines()]
    (message,) = [line for line in words if line[:1] == ["first"]]
    assert message[2:4] == ["process", message[1]]  # the first, by its number
    assert "making turbulence_data/tiny/1.0.0; waiting" in " ".join(message)
    assert ["second", simulated, "2", "True"] in words, result.stderr
