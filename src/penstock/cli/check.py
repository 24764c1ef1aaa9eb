"""`penstock check SPEC`: all that is wrong with a spec, its models opened."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from penstock.gateway.serving import open_served, read_served
from penstock.spec.problems import Problem


def check(spec: str, environment: Mapping[str, str]) -> int:
    """Read, decode and check a spec, then open its models and check it against them.

    Raises:
        SpecError: with all its mistakes.
        ModelFileError: a model cannot be opened.
    """
    warnings = asyncio.run(_open_once(Path(spec), environment))
    for warning in warnings:
        print(warning, file=sys.stderr)
    print(f"{spec}: no mistakes" + (f", {len(warnings)} warnings" if warnings else ""))
    return 0


async def _open_once(spec: Path, environment: Mapping[str, str]) -> list[Problem]:
    warnings: list[Problem] = []
    async with open_served(read_served(spec, environment), warn=warnings.append):
        return warnings
