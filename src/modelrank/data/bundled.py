"""Images that an installed library carries: always present, small, good for tests and first steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelrank.data.copies import Contents, Places
from modelrank.data.images import ImageSplit


@dataclass(frozen=True)
class DigitsCopy:
    """scikit-learn's 1797 handwritten digits of 8 x 8 pixels, 17 grey levels."""

    user_files: bool = False

    def present(self, places: Places) -> Path | None:
        import sklearn.datasets

        return Path(sklearn.datasets.__path__[0])

    def origin(self, places: Places) -> None:
        return None

    def wanted(self, places: Places) -> str:
        return "install scikit-learn"

    def fetch(self, places: Places) -> None:
        """Nothing to fetch."""

    def read(self, places: Places) -> Contents:
        import sklearn
        from sklearn.datasets import load_digits

        values, labels = load_digits(return_X_y=True)
        images = np.round(np.asarray(values).reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
        train = ImageSplit(images, np.asarray(labels, np.int64), [f"train/{i}" for i in range(len(images))])
        classes = tuple("0123456789")
        return Contents({"train": train}, classes, f"scikit-learn {sklearn.__version__}", "scikit-learn digits")
