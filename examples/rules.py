"""A model written in Python: what a botanist would say of an iris by its petals."""

import numpy as np
import numpy.typing as npt

from penstock.core.errors import InvalidInput


def petals(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the scores of setosa, versicolor and virginica, `[n, 3]`, for `rows`, `[n, 4]`."""
    if rows.shape[1] != 4:
        raise InvalidInput(f"a flower has 4 measurements, not {rows.shape[1]}", "$.data")
    length_cm, width_cm = rows[:, 2], rows[:, 3]
    setosa = length_cm < 2.5
    virginica = ~setosa & (width_cm > 1.7)
    return np.stack([setosa, ~setosa & ~virginica, virginica], axis=1).astype(np.float64)
