"""Labels: the class name of the largest score, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from penstock.core.values import Array, Tensors

LABEL: Final = "label"
SCORES: Final = "scores"
PROBA: Final = "proba"


def as_labels(names: Sequence[str | None]) -> Array:
    """Return names as a tensor `[rows]` of dtype object; None where no class applies."""
    labels: Array = np.empty(len(names), dtype=object)
    labels[:] = names
    return labels


def labelled_outputs(scores: Array, labels: Sequence[str]) -> Tensors:
    """Return the outputs of a labelled answer: `label` `[rows]`, and the `scores` behind it.

    Args:
        scores: `[rows, classes]`.
        labels: one name per class. Ties go to the first.
    """
    columns = scores.argmax(axis=1).tolist()
    return {LABEL: as_labels([labels[column] for column in columns]), SCORES: scores}
