# %% [markdown]
"""
# A dataset made by a cluster

One simulation is one unit of work, so any `concurrent.futures.Executor` makes a
dataset: processes of this machine, Dask on many, MPI. Here a Dask cluster of two
processes makes the tiny flow, and one process makes it again: the content is the
same, bit for bit. For Slurm and Kubernetes only the cluster is another one, see
`docs/distributed.md`. Dask comes with the extra `dask`.
"""

# %% tags=["remove-cell"]
import sys

if __name__ == "__main__" and {"-h", "--help"} & {*sys.argv}:
    print(__doc__)  # before anything slow is imported
    sys.exit()

# %%
import tempfile
from pathlib import Path

from dask.distributed import Client, LocalCluster

from turbulence_data import Builder
from turbulence_data.generation import InProcessExecutor

FLOW = "tiny_forced_re2e2_kf4"


def make(executor, folder):
    """Makes the dataset; returns the hash of its content."""
    builder = Builder(config=FLOW, data_dir=folder, executor=executor)
    builder.download_and_prepare()
    return builder.info.metadata["content_sha256"]


def main():
    folder = Path(tempfile.mkdtemp())
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
        client.get_executor() as executor,
    ):
        from_cluster = make(executor, folder / "cluster")
    print("Dask, two processes:", from_cluster)
    from_here = make(InProcessExecutor(), folder / "here")
    print("this process alone: ", from_here)
    print("the same content:", from_cluster == from_here)


# %% [markdown]
# The guard is for Dask: its workers import the script that started them.

# %%
if __name__ == "__main__":
    main()
