# mypy: disable-error-code="import-untyped,import-not-found"
# scikit-learn ships no types, and is not there where only the server is installed.
"""The iris data, split once so that every model is trained and judged on the same rows."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split

Rows = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]

SEED = 0
HELD_OUT_RATIO = 0.3
FLOWERS = ("setosa", "versicolor", "virginica")


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The rows to train on and the rows to judge by, each with its classes."""

    train_rows: Rows
    train_classes: Classes
    held_out_rows: Rows
    held_out_classes: Classes

    def one_versus_rest(self, flower: int) -> "Split":
        """Returns the same rows with two classes: 0 is this flower, 1 is any other."""
        return Split(
            train_rows=self.train_rows,
            train_classes=(self.train_classes != flower).astype(np.int64),
            held_out_rows=self.held_out_rows,
            held_out_classes=(self.held_out_classes != flower).astype(np.int64),
        )


def iris() -> Split:
    """Returns scikit-learn's iris data, split by flower with the fixed seed."""
    measured, flowers = load_iris(return_X_y=True)
    train_rows, held_out_rows, train_classes, held_out_classes = train_test_split(
        measured.astype(np.float32),
        flowers.astype(np.int64),
        test_size=HELD_OUT_RATIO,
        stratify=flowers,
        random_state=SEED,
    )
    return Split(train_rows, train_classes, held_out_rows, held_out_classes)


def synthetic_outliers(around: Rows, count: int) -> Rows:
    """Returns uniform rows from the box around these rows, widened by its own width each way."""
    low, high = around.min(axis=0), around.max(axis=0)
    width = high - low
    generator = np.random.default_rng(SEED)
    drawn = generator.uniform(low - width, high + width, size=(count, around.shape[1]))
    return drawn.astype(np.float32)
