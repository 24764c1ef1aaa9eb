# mypy: disable-error-code="import-untyped,import-not-found"
# scikit-learn ships no types, and is not there where only the server is installed.
"""The estimators, fitted: one function per kind of model, all with the fixed seed."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, OneClassSVM

from training.data import SEED, Classes, Rows


class Estimator(Protocol):
    """What the conversion needs of a fitted scikit-learn estimator."""

    def get_params(self) -> dict[str, object]:
        """Returns the options it was made with."""
        ...


@contextmanager
def accepting_svc_probability() -> Iterator[None]:
    """Silences scikit-learn's notice that SVC(probability=True) ends with 1.11.

    The successor, CalibratedClassifierCV, exports as some seventy small nodes; SVC exports as the
    one SVMClassifier node that users' files have. requirements/training.in keeps below 1.11.
    """
    with warnings.catch_warnings():
        for message in ("The `probability` parameter", "Attribute `prob[AB]_`"):
            warnings.filterwarnings("ignore", f"{message} was deprecated", FutureWarning)
        yield


@accepting_svc_probability()
def support_vectors(rows: Rows, classes: Classes | npt.NDArray[np.str_]) -> Estimator:
    """Returns a support vector classifier with probabilities, scaling included."""
    model = make_pipeline(StandardScaler(), SVC(probability=True, random_state=SEED))
    fitted: Estimator = model.fit(rows, classes)
    return fitted


def forest(rows: Rows, classes: Classes) -> Estimator:
    """Returns a random forest; trees need no scaling.

    A power of two of trees: their shares are exact in float32, so that certainty is exactly 1.
    """
    model = RandomForestClassifier(n_estimators=64, max_depth=4, random_state=SEED)
    fitted: Estimator = model.fit(rows, classes)
    return fitted


def one_class(rows: Rows) -> Estimator:
    """Returns a one-class support vector machine, scaling included; below 0 is an outlier."""
    fitted: Estimator = make_pipeline(StandardScaler(), OneClassSVM(nu=0.05)).fit(rows)
    return fitted


def line(rows: Rows, values: Rows) -> Estimator:
    """Returns a linear regression, solved in double precision.

    Processors differ in the last bits of the solution; in single precision these would be exported.
    """
    fitted: Estimator = LinearRegression().fit(rows.astype(np.float64), values)
    return fitted
