"""Every fenced block of the documentation runs, and every link leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, RUN, Server, Workshop, agree, blocks, serving_demo

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    served = serving_demo(tmp_path_factory.mktemp("demo"))
    yield served
    served.close()


@pages
def test_blocks_run(page: Path, tmp_path: Path, demo: Server) -> None:
    workshop = Workshop(tmp_path, demo.port)
    try:
        for block in blocks(page.read_text(encoding="utf-8")):
            workshop.run(block)
    finally:
        workshop.close()


@pages
def test_blocks_that_are_not_run_say_why(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        assert block.language in RUN | {"text"}, f"line {block.line}: what is in this block?"
        assert block.key in ("", "file", "not run", "above", "case of"), block.key


@pages
def test_every_fence_is_seen(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(blocks(text)) == len(re.findall(r"^```", text, re.MULTILINE)) / 2


@pages
def test_links_lead_somewhere(page: Path) -> None:
    broken = [
        target
        for target in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8")))
        if not leads_somewhere(page, target)
    ]
    assert broken == []


def leads_somewhere(page: Path, target: str) -> bool:
    if re.match(r"https?://", target):
        return True
    path, _, anchor = target.partition("#")
    found = (page.parent / path).resolve() if path else page
    if not found.is_file() and not found.is_dir():
        return False
    return not anchor or anchor in anchors(found)


def anchors(page: Path) -> set[str]:
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    return {slug(heading) for heading in HEADING.findall(text)}


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_page_is_linked_to() -> None:
    linked = set()
    for page in PAGES:
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            linked.add((page.parent / target.partition("#")[0]).resolve())
    top = {ROOT / "README.md", ROOT / "docs" / "README.md"}
    assert [str(page) for page in PAGES if page not in linked | top] == []


@pytest.mark.parametrize(
    ("shown", "printed", "expected"),
    [
        ('{"a": 1}', '{"a":1}', True),
        ('{"a": 0.1}', '{"a":0.10000001}', True),
        ('{"a": 0.1}', '{"a":0.11}', False),
        ('{"a": "..."}', '{"a":"anything"}', True),
        ('{"a": 1}', '{"a":true}', False),
        ('{"a": 1, "b": 2}', '{"b":2,"a":1}', False),
        ("[1]", "[1,2]", False),
        ("one ... three\n", "one two three", True),
        ("one\n", "two\n", False),
    ],
)
def test_agree(shown: str, printed: str, *, expected: bool) -> None:
    assert agree(shown, printed) is expected
