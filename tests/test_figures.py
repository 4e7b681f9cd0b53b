"""Every figure that the README and docs/ quote stands in a committed result that the same section links to."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))]
FIGURE = re.compile(r"(?<![\w.%/-])[+-]?\d+(?:\.\d+)?(?![\w/-]|\.\d)")
NO_PROSE = re.compile(r"`[^`]*`|\]\([^)]*\)|--\S+(?: [\d.]+)?|^ {4,}.*$|^#.*$|^\*\*\d\.|^\| \d+ \|", re.MULTILINE)
"""Code, links, flags with their values, headings, and numbers of lists and lines."""
NO_RESULTS = {
    "3.11": "of Python",
    "95": "per cent of an interval",
    "255": "the largest byte",
    "2003": "a year",
    "0": "a limit",
    "1": "a limit",
    "2": "a code or a count",
}
"""Figures that were not measured."""


def sections(page: str) -> list[str]:
    """The parts of a page between headings."""
    return re.split(r"\n(?=#)", (ROOT / page).read_text(encoding="utf-8"))


def results_behind(section: str, page: str) -> str:
    """The committed results to which a section links, with the pages beneath each."""
    texts = []
    for link in re.findall(r"\]\(([^)#]*benchmarks/results/[\w./]+\.md)\)", section):
        path = ((ROOT / page).parent / link).resolve()
        texts += [each.read_text(encoding="utf-8") for each in [path, *sorted(path.with_suffix("").glob("*.md"))]]
    return "\n".join(texts)


def quoted(section: str) -> list[str]:
    """The figures of a section: those of its prose and tables, and of blocks that show what a command prints."""
    prose = re.sub(r"```(\w*)\n(.*?)```", lambda block: _printed(*block.groups()), section, flags=re.DOTALL)
    prose = re.sub(
        r"`[^`]*`|\]\([^)]*\)|--\S+(?: [\d.]+)?|^ {4,}.*$|^#.*$|^\*\*\d\.|^\| \d+ \|", " ", prose, flags=re.MULTILINE
    )
    return [word for word in FIGURE.findall(prose) if word.lstrip("+-") not in NO_RESULTS]


def _printed(language: str, block: str) -> str:
    return "" if language or not re.search(r"^-{10,}$", block, re.MULTILINE) else re.sub(r".*run folder.*", "", block)


def unfounded(section: str, results: str) -> list[str]:
    """The figures of a section that stand nowhere in the results; a sign counts only where both have one."""
    known = set(FIGURE.findall(results))
    known |= {word.lstrip("+-") for word in known}
    return [word for word in quoted(section) if word not in known and word.lstrip("+") not in known]


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_stands_in_a_committed_result(page: str) -> None:
    missing = {
        section.splitlines()[0]: wrong
        for section in sections(page)
        if (wrong := unfounded(section, results_behind(section, page)))
    }
    assert missing == {}


def test_a_figure_of_nowhere_is_noticed() -> None:
    section = "## Speed\n\nIt is 17 times faster ([table](benchmarks/results/sinkhorn_speed.md)), and 4321.5 times.\n"
    assert unfounded(section, results_behind(section, "README.md")) == ["4321.5"]
    assert unfounded("It gains +11.02 points.", "| +11.01 |") == ["+11.02"]
    assert unfounded("It gains -0.30 points.", "| 0.30 |") == ["-0.30"]
    assert unfounded("```\na  b\n----------\nx  0.1234\n```", "") == ["0.1234"]


def test_the_readme_fits_on_a_page() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", (ROOT / page).read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not ((ROOT / page).parent / link).exists()] == []
