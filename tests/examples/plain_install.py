"""What an installed wheel can do, run where the sources are not on the path.

    python plain_install.py [--block] [--examples FOLDER]

With --block, the libraries of every extra are treated as not installed.
"""

import argparse
import importlib
import importlib.abc
import pkgutil
import sys
import tempfile
from pathlib import Path

# Not h5py, which Keras needs itself.
OPTIONAL = (
    "IPython",
    "PIL",
    "dask",
    "distributed",
    "fluidsim",
    "h5netcdf",
    "jax",
    "jaxlib",
    "jinja2",
    "matplotlib",
    "numba",
    "pandas",
    "sklearn",
    "tensorboardX",
    "torch",
    "xarray",
    "zarr",
)


class NotInstalled(importlib.abc.MetaPathFinder):
    """Refuses the optional libraries, as if they were not there."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in OPTIONAL:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


# Imported by their own users alone, once these have asked for the library.
NEEDS_AN_EXTRA = (
    "turbulence_data.solver.jax._",
    "turbulence_data.solver.fftw._pointwise_numba",
    "keras_spectral_tl._autodiff.jax",
    "keras_spectral_tl._autodiff.torch",
)


def import_everything() -> int:
    """Imports every module of both packages; returns how many it could."""
    names = []
    for package in ("turbulence_data", "keras_spectral_tl"):
        root = importlib.import_module(package)
        found = pkgutil.walk_packages(root.__path__, f"{package}.")
        names += [package, *(module.name for module in found)]
    names = [name for name in names if not name.endswith(".__main__")]
    count = 0
    for name in names:
        try:
            importlib.import_module(name)
            count += 1
        except ModuleNotFoundError as error:
            if error.name not in OPTIONAL or not name.startswith(NEEDS_AN_EXTRA):
                raise
    return count


def simulate_and_retrain() -> None:
    """A simulation, spectra, and a layer retrained, with what is always there."""
    import numpy as np

    import keras_spectral_tl as kst
    import turbulence_data as td

    start = np.random.default_rng(0).normal(size=(32, 32))
    vorticity = td.evolve(start - start.mean(), td.FlowConfig(32, reynolds=100.0), 0.05)
    x = np.repeat(vorticity[None, ..., None], 2, axis=-1).astype("float32")
    model = kst.build_sgs_cnn((32, 32, 2), num_layers=2, num_filters=2)
    assert set(kst.kernel_spectra(model, 32).layers) == {"conv_1", "conv_2"}
    result = kst.retrain(model, (x, x[..., :1]), "conv_2", epochs=1)
    assert result.changed == ("conv_2",)
    with tempfile.TemporaryDirectory() as folder:
        kst.Study(retraining=result.to_dict()).write(folder)


def import_examples(folder: Path) -> list[str]:
    """Imports every example; returns their names."""
    sys.path.insert(0, str(folder))
    files = [*folder.glob("*.py"), *folder.glob("*/[a-z]*.py")]
    names = [".".join(f.relative_to(folder).with_suffix("").parts) for f in files]
    names.remove("execute_notebooks")  # for those who write the examples
    for name in names:
        importlib.import_module(name)
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--block", action="store_true")
    parser.add_argument("--examples", type=Path)
    options = parser.parse_args()
    if options.block:
        sys.meta_path.insert(0, NotInstalled())
    print(f"{import_everything()} modules imported")
    simulate_and_retrain()
    if options.examples is not None:
        print("examples imported:", *sorted(import_examples(options.examples)))
    print("from", Path(sys.modules["keras_spectral_tl"].__file__).parent)


if __name__ == "__main__":
    main()
