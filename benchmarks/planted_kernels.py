"""Planted filters under noise: classified right, fitted well, and found as principal.

    python benchmarks/planted_kernels.py

Gaussians (low-pass), Gabor functions (band-pass), Laplacians and chequered Gaussians
(high-pass) of 5 x 5 points and norm 1, 1,000 of each, with any orientation and phase,
plus white noise of a given norm; then three patterns that kernels of a layer are
combinations of, in white noise. Prints the two tables of docs/spectra.md.
"""

import argparse

import numpy as np

from keras_spectral_tl.spectra import classify_kernels, fit_gabor, principal_filters

COUNT = 1000
NOISE = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
X, Y = np.meshgrid(np.arange(5) - 2.0, np.arange(5) - 2.0, indexing="ij")
DELTA = np.where((X == 0) & (Y == 0), 1.0, 0.0)


def column(values: np.ndarray) -> np.ndarray:
    return values[..., None, None]


def low_passes(rng: np.random.Generator) -> np.ndarray:
    s1, s2 = column(rng.uniform(0.8, 1.6, (2, COUNT)))
    return np.exp(-((X / s1) ** 2 + (Y / s2) ** 2) / 2)


def gabors(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Gabor functions and their carriers (COUNT, 2)."""
    angle, phase = (
        column(rng.uniform(0, np.pi, COUNT)),
        rng.uniform(0, 2 * np.pi, COUNT),
    )
    modulus = column(np.pi * rng.uniform(0.45, 0.6, COUNT))
    s1, s2 = column(rng.uniform(1.2, 1.6, (2, COUNT)))
    along = X * np.cos(angle) + Y * np.sin(angle)
    across = Y * np.cos(angle) - X * np.sin(angle)
    envelope = np.exp(-((along / s1) ** 2 + (across / s2) ** 2) / 2)
    carriers = modulus * np.stack([np.cos(angle), np.sin(angle)])
    kernels = envelope * np.cos(modulus * along + column(phase))
    return kernels, carriers[..., 0, 0].T


def high_passes(rng: np.random.Generator) -> np.ndarray:
    cross = np.where(np.abs(X) + np.abs(Y) == 1, 1.0, 0.0)
    diagonal = np.where(np.abs(X * Y) == 1, 1.0, 0.0)
    smooth = low_passes(rng)
    kinds = np.stack(
        [
            np.broadcast_to(cross - 4 * DELTA, smooth.shape),
            np.broadcast_to(4 * cross + diagonal - 20 * DELTA, smooth.shape),
            smooth * (-1.0) ** (X + Y),
        ]
    )
    return kinds[rng.integers(0, 3, COUNT), np.arange(COUNT)]


def unit(kernels: np.ndarray) -> np.ndarray:
    return kernels / np.linalg.norm(kernels, axis=(1, 2), keepdims=True)


def layer_of_three(
    shape: tuple[int, int], energy: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Kernels of three orthonormal patterns and noise of energy 1, and the patterns."""
    smooth = np.exp(-(X**2 + Y**2) / 2)
    cross = np.where(np.abs(X) + np.abs(Y) == 1, 1.0, 0.0)
    patterns = np.stack([smooth, X * smooth, cross - 4 * DELTA]).reshape(3, 25)
    basis = np.linalg.qr(patterns.T)[0].T
    count = shape[0] * shape[1]
    weights = np.linalg.qr(rng.normal(size=(count, 3)))[0] * np.array([1.0, 0.7, 0.5])
    signal, noise = weights @ basis, rng.normal(size=(count, 25))
    signal *= np.sqrt(energy) / np.linalg.norm(signal)
    rows = signal + noise / np.linalg.norm(noise)
    return rows.T.reshape(5, 5, *shape), basis


def principal() -> None:
    """Numbers of filters found over 100 layers each, level 0.05."""
    print("\n| channels | energy | filters found: 0 | 1 | 2 | 3 | more | cos² |")
    print("|---" * 8 + "|")
    for shape in ((2, 16), (16, 16), (64, 64)):
        for energy in (0.0, 0.1, 0.2, 0.5, 1.0):
            counts, cosines = np.zeros(5, int), []
            for seed in range(100):
                rng = np.random.default_rng(seed)
                kernels, basis = layer_of_three(shape, energy, rng)
                found = principal_filters(kernels, level=0.05, seed=seed)
                counts[min(int(found.significant.sum()), 4)] += 1
                flat = found.filters[:3].reshape(3, 25)
                cosines.append(np.sum(flat * basis, axis=1) ** 2)
            mean = "-"
            if energy:
                mean = " ".join(f"{value:.2f}" for value in np.mean(cosines, axis=0))
            cells = " | ".join(map(str, counts))
            print(f"| {shape[0]} x {shape[1]} | {energy:g} | {cells} | {mean} |")


def main() -> None:
    rng = np.random.default_rng(0)
    waves, carriers = gabors(rng)
    planted = {
        "low-pass": unit(low_passes(rng)),
        "band-pass": unit(waves),
        "high-pass": unit(high_passes(rng)),
    }
    names = " | ".join(planted)
    print(f"| noise / kernel | {names} | carrier off by | Gabor residual |")
    print("|---" * 6 + "|")
    for noise in NOISE:
        cells = []
        for name, kernels in planted.items():
            noisy = kernels + noise / 5 * rng.standard_normal(kernels.shape)
            cells.append(f"{np.mean(classify_kernels(noisy) == name):.1%}")
            if name == "band-pass":
                fits = fit_gabor(noisy)
                # k and -k are one wave.
                both = [np.linalg.norm(fits.wavenumbers - s * carriers, axis=1)
                        for s in (1, -1)]  # fmt: skip
                cells_of_fit = [
                    f"{np.median(np.minimum(*both)) / np.pi:.3f} π",
                    f"{np.median(fits.residuals):.3f}",
                ]
        print(f"| {noise:g} | {' | '.join([*cells, *cells_of_fit])} |")
    principal()


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    main()
