"""Two hosts that share a network and no disk make the content of one process.

The hosts are network namespaces joined by a virtual cable, each with its own loopback;
the second one sees an empty file system where the first keeps the data. Its worker is
killed in the middle. Where the system lets nobody make namespaces, the same runs on two
loopback addresses, and the reason is printed.
"""

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

from turbulence_data import EnsembleConfig, FlowConfig
from turbulence_data.generation import content_hash, sample_trajectory
from turbulence_data.generation._ensemble import SPLITS
from turbulence_data.generation._trajectory import examples_of

PATIENCE_SECONDS = 120.0
ENSEMBLE = EnsembleConfig(
    flow=FlowConfig(64, reynolds=200.0),
    num_points_les=16,
    num_trajectories=(4, 1, 1),
    num_snapshots=3,
    spin_up=8.0,
    interval=0.5,
    time_step=5e-3,
)
# Generates; says when both hosts have work, who had the work of the second one, and
# what came out.
DRIVER = f"""
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from dask.distributed import Client
from turbulence_data import Builder, EnsembleConfig, FlowConfig, TurbulenceConfig
from turbulence_data.solver._initial_conditions import RandomVorticity

scheduler, data_dir, first, second = sys.argv[1:]
ensemble = {ENSEMBLE!r}

def generate():
    config = TurbulenceConfig(name="tiny", ensemble=ensemble)
    with client.get_executor() as executor:
        builder = Builder(config=config, data_dir=data_dir, executor=executor)
        builder.download_and_prepare()
    return builder.info.metadata["content_sha256"]

def busy():
    return {{
        address.split("//")[1].split(":")[0]: keys
        for address, keys in client.processing().items() if keys
    }}

with Client(scheduler) as client, ThreadPoolExecutor(1) as thread:
    client.wait_for_workers(2)
    result = thread.submit(generate)
    while set(busy()) != {{first, second}}:
        time.sleep(0.02)
    orphans = set(busy()[second])
    print("\\nbusy", first, second, len(orphans), flush=True)
    inherited = set()
    while not inherited and not result.done():
        inherited = orphans & set(busy().get(first, ()))
        time.sleep(0.02)
    print("\\ninherited", len(inherited), flush=True)
    print("\\nhash", result.result(), flush=True)
"""


@dataclass(frozen=True)
class Host:
    """Where commands run: an address, and what goes before them."""

    address: str
    prefix: tuple[str, ...] = ()

    def start(self, *command, hide=None, **options):
        """Starts a Python module; `hide` is a directory whose content it cannot see."""
        words = [*self.prefix, sys.executable, *map(str, command)]
        if hide is not None and self.prefix:
            mount = 'mount -t tmpfs none "$0" && exec "$@"'
            rest = words[len(self.prefix) :]
            words = [*self.prefix, "sh", "-c", mount, str(hide), *rest]
        path = os.pathsep.join(filter(None, sys.path))
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(words, env=environment, text=True, **options)


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def two_hosts():
    """Yields two hosts, and why they are not namespaces (None where they are)."""
    names = [f"host{os.getpid()}{letter}" for letter in "ab"]
    addresses = ["10.213.77.1", "10.213.77.2"]
    with contextlib.ExitStack() as cleanup:
        try:
            for name in names:
                ip("netns", "add", name)
                cleanup.callback(ip, "netns", "delete", name)
            cable = [
                word
                for number, name in enumerate(names)
                for word in ("name", f"cable{number}", "netns", name)
            ]
            ip("link", "add", *cable[:4], "type", "veth", "peer", *cable[4:])
            for number, name in enumerate(names):
                inside, device = ("-n", name), f"cable{number}"
                ip(*inside, "address", "add", addresses[number] + "/30", "dev", device)
                for each in (device, "lo"):
                    ip(*inside, "link", "set", each, "up")
        except (OSError, subprocess.CalledProcessError) as error:
            reason = f"{error} {getattr(error, 'stderr', '')}".strip()
            yield Host("127.0.0.1"), Host("127.0.0.2"), reason
            return
        first, second = (
            Host(address, ("ip", "netns", "exec", name))
            for address, name in zip(addresses, names, strict=True)
        )
        yield first, second, None


@pytest.fixture
def hosts(capsys):
    with two_hosts() as (first, second, reason):
        if reason is not None:
            with capsys.disabled():
                print(f"\nno network namespaces, two loopback addresses: {reason}")
        yield first, second


@contextlib.contextmanager
def running(process):
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def expected_hash():
    numbers = [n for split in SPLITS for n in ENSEMBLE.trajectory_ids(split)]
    return content_hash(
        example
        for number in numbers
        for example in examples_of(ENSEMBLE, sample_trajectory(ENSEMBLE, number))
    )


def said(process, word):
    """Waits for a line that begins with a word, and returns the rest of it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        line = process.stdout.readline()
        assert line, f"ended before it said {word!r}"
        if line.split()[:1] == [word]:
            return line.split()[1:]
    raise AssertionError(f"did not say {word!r} in time")


@pytest.mark.slow
def test_two_hosts_and_a_worker_that_is_killed(hosts, tmp_path):
    first, second = hosts
    data = tmp_path / "data"
    data.mkdir()
    scheduler = f"tcp://{first.address}:8786"
    worker = ("-m", "distributed.cli.dask_worker", scheduler, "--nthreads", "1")
    worker += ("--no-nanny", "--no-dashboard", "--local-directory", tmp_path)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with contextlib.ExitStack() as processes:

        def start(host, *command, **options):
            return processes.enter_context(running(host.start(*command, **options)))

        module = "distributed.cli.dask_scheduler"
        where = ("--host", first.address, "--port", "8786", "--no-dashboard")
        start(first, "-m", module, *where, **quiet)
        start(first, *worker, "--host", first.address, **quiet)
        doomed = start(second, *worker, "--host", second.address, hide=data, **quiet)
        arguments = (scheduler, data, first.address, second.address)
        driver = start(first, "-c", DRIVER, *arguments, stdout=subprocess.PIPE)
        processes.callback(driver.stdout.close)
        assert int(said(driver, "busy")[-1]) >= 1
        doomed.kill()
        assert int(said(driver, "inherited")[0]) >= 1
        assert said(driver, "hash") == [expected_hash()]
        assert driver.wait(PATIENCE_SECONDS) == 0
