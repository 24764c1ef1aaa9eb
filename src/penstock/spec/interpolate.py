"""`${NAME}` and `${NAME:-default}` in the scalars of a document, filled from an environment.

As in a shell, the default also stands in for a variable that is set but empty. `$${` is a plain
`${`. A scalar that is exactly one `${...}` becomes what it would be if its value stood there
plainly, so that `"${THRESHOLD:-0.9}"` is a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, assert_never

import msgspec

from penstock.spec.nodes import Entry, Scalar, Sequence, Table, YamlNode, resolve
from penstock.spec.problems import Problem, child, item, quoted

MARK: Final = re.compile(
    r"(?P<escaped>\$\$\{)"
    r"|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>(?:(?!\$\{)[^}])*))?\}"
    r"|(?P<broken>\$\{[^}]*\}?)"
)


def interpolate(
    root: YamlNode, environment: Mapping[str, str], file: str
) -> tuple[YamlNode, tuple[Problem, ...]]:
    """Return the document with its variables filled, and a problem for each that has no value."""
    filler = _Filler(environment, file)
    return filler.node(root, ""), tuple(filler.problems)


class _Filler:
    def __init__(self, environment: Mapping[str, str], file: str) -> None:
        self.problems: list[Problem] = []
        self._environment = environment
        self._file = file

    def node(self, node: YamlNode, path: str) -> YamlNode:
        """Return the node with all variables in it filled."""
        match node:
            case Scalar():
                return self._scalar(node, path) if "${" in node.text else node
            case Sequence():
                items = (self.node(one, item(path, i)) for i, one in enumerate(node.items))
                return msgspec.structs.replace(node, items=tuple(items))
            case Table():
                entries = {
                    key: Entry(entry.position, self.node(entry.value, child(path, key)))
                    for key, entry in node.entries.items()
                }
                return msgspec.structs.replace(node, entries=entries)
            case _:
                assert_never(node)

    def _scalar(self, scalar: Scalar, path: str) -> Scalar:
        whole = MARK.fullmatch(scalar.text)
        filled = MARK.sub(lambda mark: self._filled(mark, scalar, path), scalar.text)
        plainly = whole is not None and whole["name"] is not None
        filled = filled.strip() if plainly else filled
        return msgspec.structs.replace(
            scalar,
            value=resolve(filled) if plainly else filled,
            text=filled,
            origin=scalar.text,
        )

    def _filled(self, mark: re.Match[str], scalar: Scalar, path: str) -> str:
        if mark["escaped"]:
            return "${"
        if mark["broken"]:
            what = f"{quoted(mark['broken'])} is no variable: write ${{NAME}} or ${{NAME:-default}}"
            self._problem(what, scalar, path, "a plain ${ is written $${")
            return mark["broken"]
        value = self._environment.get(mark["name"], "")
        if value or mark["default"] is not None:
            return value or mark["default"]
        if mark["name"] not in self._environment:
            name = mark["name"]
            what = f"the environment has no {name}"
            self._problem(what, scalar, path, f"set it, or give a default: ${{{name}:-...}}")
        return ""

    def _problem(self, sentence: str, scalar: Scalar, path: str, hint: str) -> None:
        self.problems.append(
            Problem(
                file=self._file, path=path, sentence=sentence, hint=hint, position=scalar.position
            )
        )
