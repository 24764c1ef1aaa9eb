"""`python -m training`: makes every file; with `--check`, only says whether any would change."""

import argparse
import sys
from pathlib import Path

from training.artefacts import artefacts

_ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    """Runs the command and returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if files differ")
    parser.add_argument(
        "--root", type=Path, default=_ROOT, help="where models/ and tests/data/models/ are"
    )
    chosen = parser.parse_args(arguments)
    return _check(chosen.root) if chosen.check else _write(chosen.root)


def _write(root: Path) -> int:
    files = artefacts()
    for path, content in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    sys.stdout.write(f"{len(files)} files made.\n")
    return 0


def _check(root: Path) -> int:
    files = artefacts()
    differing = [path for path, content in files.items() if not _holds(root / path, content)]
    if differing:
        sys.stderr.write(
            f"What training makes differs from what is here in {', '.join(differing)}: "
            "run `make models` and look at the change.\n"
        )
        return 1
    sys.stdout.write(f"{len(files)} files are what training makes.\n")
    return 0


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
