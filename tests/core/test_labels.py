from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.labels import LABEL, SCORES, as_labels, labelled_outputs

NAMES = ("setosa", "versicolor", "virginica")


def test_labels_are_a_tensor_of_names() -> None:
    labels = as_labels(["setosa", None, "a longer name"])

    assert labels.shape == (3,)
    assert labels.dtype == object
    assert labels.tolist() == ["setosa", None, "a longer name"]


def test_no_labels_are_an_empty_tensor() -> None:
    assert as_labels([]).shape == (0,)


def test_each_row_has_the_label_of_its_largest_score() -> None:
    scores = np.array([[0.1, 0.2, 0.7], [0.9, 0.1, 0.0]], dtype=np.float32)

    outputs = labelled_outputs(scores, NAMES)

    assert list(outputs) == [LABEL, SCORES]
    assert outputs[LABEL].tolist() == ["virginica", "setosa"]
    assert outputs[SCORES] is scores


def test_ties_go_to_the_first() -> None:
    assert labelled_outputs(np.array([[0.2, 0.4, 0.4]]), NAMES)[LABEL].tolist() == ["versicolor"]


@given(st.lists(st.lists(st.floats(-5, 5, width=32), min_size=3, max_size=3), min_size=1))
def test_agrees_with_plain_python(rows: list[list[float]]) -> None:
    labels = labelled_outputs(np.array(rows, dtype=np.float32), NAMES)[LABEL]

    assert labels.tolist() == [NAMES[row.index(max(row))] for row in rows]
