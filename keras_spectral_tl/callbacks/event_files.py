"""TensorBoard event files, on any Keras backend."""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class EventFiles:
    """Writes scalars and images that TensorBoard shows, without TensorFlow.

    One event file, written through at the end of every record, so that a fit that dies
    leaves all records before.

    Args:
        log_dir: Where to; made if missing. Others may write to the same place.
        writer_name: Ends the name of the file, so that two writers that start at the
            same second do not share one.

    Raises:
        ImportError: If tensorboardX or Pillow is not installed.
    """

    def __init__(self, log_dir: str | os.PathLike[str], writer_name: str) -> None:
        self.log_dir = Path(log_dir)
        for module in ("tensorboardX", "PIL.Image"):
            _installed(module)
        writer = _installed("tensorboardX").SummaryWriter
        self._writer = writer(str(self.log_dir), filename_suffix=f".{writer_name}")

    def write(
        self,
        step: int,
        scalars: Mapping[str, float],
        images: Mapping[str, NDArray[np.uint8]],
    ) -> None:
        """Writes one record.

        Args:
            step: Its place on TensorBoard's axis, such as the epoch.
            scalars: Values by tag.
            images: (height, width, 3) by tag.
        """
        for tag, value in scalars.items():
            self._writer.add_scalar(tag, value, step)
        for tag, image in images.items():
            self._writer.add_image(tag, image, step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()


def _installed(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"TensorBoard event files need {module.split('.')[0]}, which is not "
            "installed. Install it with `pip install keras-spectral-tl[tensorboard]`, "
            "or pass log_dir=None."
        ) from error
