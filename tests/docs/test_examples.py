"""Every example passes its check without a warning, its models opened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_example_is_without_mistakes(example: Path) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "penstock", "check", str(example)],
        env={"PATH": os.environ["PATH"]},  # an example must not depend on the environment
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")
