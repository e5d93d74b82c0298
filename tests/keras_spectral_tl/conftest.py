"""What holds before every test here; networks and samples are in `common`."""

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Draw the same weights in every run, in fixtures too, whatever ran before."""
    keras.utils.set_random_seed(3)


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory):
    """On JAX, what one test has compiled another loads, in the same process.

    Not in a folder of all processes: JAX writes its files in place.
    """
    if keras.backend.backend() == "jax":
        import jax
        from jax.experimental.compilation_cache import compilation_cache

        folder = tmp_path_factory.mktemp("compiled")
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        compilation_cache.reset_cache()  # programs came before without one


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A small network and samples of two systems."""
    folder = tmp_path_factory.mktemp("files")
    keras.utils.set_random_seed(0)
    model = kst.build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
    model.save(folder / "base.keras")
    rng = np.random.default_rng(0)
    for name, scale in (("base", 1.0), ("target", 3.0), ("test", 3.0)):
        x = scale * rng.normal(size=(6, 8, 8, 2)).astype("float32")
        trajectory = np.repeat(["first", "second", "third"], 2)
        y = np.roll(x[..., :1], 1, axis=1)
        np.savez(folder / f"{name}.npz", x=x, y=y, trajectory=trajectory)
    return folder
