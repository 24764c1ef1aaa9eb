"""Every name that others may import exists."""

from __future__ import annotations

import importlib
import re

import pytest

import penstock
from tests.house.source import ROOT

PAGE = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
PUBLIC = re.findall(r"^\| `(penstock\.[\w.]+)` \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize("name", PUBLIC)
def test_name_exists(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(importlib.import_module(module), attribute)


def test_the_list_is_not_empty() -> None:
    assert "penstock.gateway.app.App" in PUBLIC


def test_names_of_the_package_exist_and_are_listed() -> None:
    for name in getattr(penstock, "__all__", ()):
        assert hasattr(penstock, name)
        assert f"penstock.{name}" in PUBLIC
