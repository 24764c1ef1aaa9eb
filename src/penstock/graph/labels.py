"""Class names from a JSON file."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, Final

from penstock.core.errors import ModelFileError

MAX_LABELS_BYTES: Final = 16 * 1024 * 1024


def read_labels(model: str, path: Path) -> tuple[str, ...]:
    """Read class names from a JSON file: a list, or an object from column to name.

    Raises:
        ModelFileError: missing, unreadable, too large, or not such a file.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_LABELS_BYTES + 1)
        if len(text) > MAX_LABELS_BYTES:
            raise ModelFileError(model, str(path), f"labels of over {MAX_LABELS_BYTES} bytes")
        content = json.loads(text, object_pairs_hook=partial(_distinct, model, path))
    except FileNotFoundError as error:
        raise ModelFileError(model, str(path), "there is no such labels file") from error
    except OSError as error:
        what = (error.strerror or "unknown reason").lower()
        raise ModelFileError(model, str(path), f"the labels cannot be read: {what}") from error
    except (ValueError, RecursionError) as error:
        raise ModelFileError(model, str(path), "the labels are not JSON") from error
    return _as_labels(model, path, content)


def _distinct(model: str, path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ModelFileError(model, str(path), "a column stands twice in the labels")
    return content


def _as_labels(model: str, path: Path, content: Any) -> tuple[str, ...]:  # noqa: ANN401 - any JSON
    if isinstance(content, dict):
        keys = [str(column) for column in range(len(content))]
        if set(content) != set(keys):
            what = 'the labels must have the keys "0", "1", ... without a gap'
            raise ModelFileError(model, str(path), what)
        content = [content[key] for key in keys]
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        what = "the labels must be a list of names, or an object from column to name"
        raise ModelFileError(model, str(path), what)
    if not content:
        raise ModelFileError(model, str(path), "there are no labels in it")
    if len(set(content)) < len(content):
        raise ModelFileError(model, str(path), "a label stands twice in it")
    if not all(map(_is_text, content)):
        raise ModelFileError(model, str(path), "a label is no text that UTF-8 can hold")
    return tuple(content)


def _is_text(label: str) -> bool:
    try:
        label.encode()
    except UnicodeEncodeError:  # half a surrogate
        return False
    return True
