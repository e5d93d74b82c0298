"""TensorBoard with the callbacks' event files in a real headless browser.

    pip install tensorboard selenium; apt-get install chromium chromium-driver
    python benchmarks/tensorboard_in_a_browser.py --out runs/tensorboard

Fits a small network with `KernelSpectra` and `ActivationSpectra`, starts TensorBoard on
the event files, opens it in Chromium, checks in the page that our images and scalars
are there with pixels in them, and takes a screenshot of each tab.
"""

import argparse
import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

# In every open shadow root: TensorBoard's page is made of nested custom elements.
FIND_IMAGES = """
const found = [];
const visit = root => {
  for (const node of root.querySelectorAll('*')) {
    if (node.tagName === 'IMG' && node.src.includes('individualImage'))
      found.push([node.src, node.naturalWidth, node.naturalHeight]);
    if (node.shadowRoot) visit(node.shadowRoot);
  }
};
visit(document);
return found;
"""


def record(log_dir: Path, epochs: int = 3) -> None:
    """Fits a network to fields of one wavenumber, recording as it goes."""
    import keras

    import keras_spectral_tl as kst
    from keras_spectral_tl.callbacks import ActivationSpectra, KernelSpectra

    keras.utils.set_random_seed(0)
    model = kst.build_sgs_cnn((32, 32, 2), num_layers=3, num_filters=8)
    model.compile("adam", "mse")
    x = np.random.default_rng(0).standard_normal((16, 32, 32, 2)).astype("float32")
    y = np.roll(x[..., :1], 2, axis=1) - x[..., :1]
    options: dict[str, Any] = {"log_dir": log_dir, "most_share": None}
    callbacks = [KernelSpectra(32, **options), ActivationSpectra(x[:2], **options)]
    model.fit(x, y, epochs=epochs, verbose=0, callbacks=callbacks)


@contextlib.contextmanager
def tensorboard(log_dir: Path) -> Iterator[str]:
    """Its address, while it runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(log_dir)]
    command += ["--port", str(port), "--host", "127.0.0.1", "--load_fast", "false"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        address = f"http://127.0.0.1:{port}/"
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}data/runs", timeout=5)
                break
            time.sleep(0.5)
        try:
            yield address
        finally:
            server.terminate()


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--window-size=1400,1000",
    ):
        options.add_argument(flag)
    driver = webdriver.Chrome(
        options=options, service=Service(shutil.which("chromedriver"))
    )
    try:
        yield driver
    finally:
        driver.quit()


def images_in(driver: Any, address: str, patience: float = 240.0) -> list[Any]:
    """Opens the Images tab; what it shows once images have pixels."""
    driver.get(f"{address}#images")
    end = time.monotonic() + patience
    found: list[Any] = []
    while time.monotonic() < end:
        found = [image for image in driver.execute_script(FIND_IMAGES) if image[1] > 0]
        if found:
            break
        time.sleep(1.0)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/tensorboard"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    log_dir = Path(tempfile.mkdtemp(prefix="log_", dir=options.out))
    record(log_dir)
    with tensorboard(log_dir) as address, browser() as driver:
        found = images_in(driver, address)
        time.sleep(5.0)
        driver.save_screenshot(str(options.out / "images.png"))
        driver.get(f"{address}#timeseries")
        time.sleep(15.0)
        driver.save_screenshot(str(options.out / "scalars.png"))
    for source, width, height in found:
        print(f"{width} x {height}  {source.split('individualImage?')[1][:120]}")
    if not found:
        raise SystemExit("TensorBoard showed none of our images.")
    print(f"{len(found)} images shown; screenshots: {options.out}/*.png")


if __name__ == "__main__":
    main()
