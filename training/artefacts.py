"""Every file that training makes: its path from the project's root, and its bytes."""

from collections.abc import Iterator

import numpy as np

from training import estimators, graphs
from training.cards import Subject, card, json_text
from training.conversion import converted
from training.data import FLOWERS, Split, iris, synthetic_outliers
from training.evaluation import (
    ExportedModel,
    OutlierQuality,
    Quality,
    classifier_quality,
    outlier_quality,
)

Artefact = tuple[str, bytes]

_SYNTHETIC_OUTLIERS = 1000


def artefacts() -> dict[str, bytes]:
    """Returns all files."""
    split = iris()
    return dict(
        [
            *_classifiers(split),
            *_one_versus_rest(split),
            *_outlier_detector(split),
            *_forms_of_export(split),
            *_hand_made(),
        ]
    )


def _classifiers(split: Split) -> Iterator[Artefact]:
    labels = _labels(*FLOWERS)
    rows, flowers = split.train_rows, split.train_classes
    yield "models/iris_labels.json", json_text(labels)
    for name, estimator in (
        ("iris_svc", estimators.support_vectors(rows, flowers)),
        ("iris_rf", estimators.forest(rows, flowers)),
    ):
        yield from _judged_classifier(Subject(name, estimator, labels, split))


def _one_versus_rest(split: Split) -> Iterator[Artefact]:
    for index, flower in enumerate(FLOWERS):
        name = f"iris_{flower}"
        labels = _labels(flower, "other")
        ours = split.one_versus_rest(index)
        estimator = estimators.support_vectors(ours.train_rows, ours.train_classes)
        yield f"models/{name}_labels.json", json_text(labels)
        yield from _judged_classifier(Subject(name, estimator, labels, ours))


def _outlier_detector(split: Split) -> Iterator[Artefact]:
    subject = Subject("iris_ocs", estimators.one_class(split.train_rows), None, split)
    content = converted(subject.name, subject.estimator)
    outliers = synthetic_outliers(split.train_rows, _SYNTHETIC_OUTLIERS)
    quality = outlier_quality(ExportedModel(content), split.held_out_rows, outliers)
    yield from _with_card(subject, content, quality)


def _judged_classifier(subject: Subject) -> Iterator[Artefact]:
    content = converted(subject.name, subject.estimator)
    names = list((subject.labels or {}).values())
    split = subject.split
    quality = classifier_quality(
        ExportedModel(content), split.held_out_rows, split.held_out_classes, names
    )
    yield from _with_card(subject, content, quality)


def _with_card(
    subject: Subject, content: bytes, quality: Quality | OutlierQuality
) -> Iterator[Artefact]:
    yield f"models/{subject.name}.onnx", content
    yield f"models/{subject.name}.card.json", card(subject, content, quality)


def _forms_of_export(split: Split) -> Iterator[Artefact]:
    """Yields the other forms that users' exports have."""
    rows, flowers = split.train_rows, split.train_classes
    svc = estimators.support_vectors(rows, flowers)
    by_name = estimators.support_vectors(rows, np.array(FLOWERS)[flowers])
    width = estimators.line(rows[:, :3], rows[:, 3])
    yield from (
        _for_tests("iris_svc_tensor.onnx", converted("iris_svc_tensor", svc, form="tensor")),
        _for_tests("iris_svc_columns.onnx", converted("iris_svc_columns", svc, form="columns")),
        _for_tests("iris_svc_names.onnx", converted("iris_svc_names", by_name)),
        _for_tests("iris_regressor.onnx", converted("iris_regressor", width, width=3)),
    )


def _hand_made() -> Iterator[Artefact]:
    for make in (
        graphs.two_inputs,
        graphs.fixed_batch,
        graphs.integers,
        graphs.nan_maker,
        graphs.picky,
    ):
        yield _for_tests(f"{make.__name__}.onnx", make())
    inside, data = graphs.external("external_inside", location="external_inside.data")
    yield _for_tests("external_inside.onnx", inside)
    yield _for_tests("external_inside.data", data)
    outside, _ = graphs.external("external_outside", location="../escape.data")
    yield _for_tests("external_outside.onnx", outside)


def _for_tests(file: str, content: bytes) -> Artefact:
    return f"tests/data/models/{file}", content


def _labels(*names: str) -> dict[str, str]:
    return {str(index): name for index, name in enumerate(names)}
