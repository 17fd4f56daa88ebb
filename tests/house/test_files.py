"""What is in the repository fits any machine, and every change is told to the users."""

import re
from pathlib import Path

import pytest

from house.tree import ROOT, tracked

ELSEWHERE = re.compile(
    r"(?<![\w./:~$}{<*-])/(?:home|root|work|tmp|opt|mnt|Users|srv|data|scratch)/[\w.]"
    r"|\b(?:pypi|pythonhosted|npmjs|conda|anaconda|download\.pytorch|proxy\.golang)\.(?:org|com)\b"
)
"""A path that exists on one machine alone, or the address of a package registry."""

CHANGES = {"added", "changed", "deprecated", "removed", "fixed", "security"}


def text_of(path: Path) -> str:
    """The text of a file, '' if it is not text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def test_no_file_names_one_machine_or_a_registry() -> None:
    found = {
        str(path.relative_to(ROOT)): match.group()
        for path in tracked()
        if path != Path(__file__) and (match := ELSEWHERE.search(text_of(path)))
    }
    assert not found


@pytest.mark.parametrize("text", ["cd /home/ada", "'/tmp/x'", "--out /work/a", "https://pypi.org/simple"])
def test_the_pattern_sees_what_it_must(text: str) -> None:
    assert ELSEWHERE.search(text)


@pytest.mark.parametrize("text", ["a/home/b", "https://a.org/work/b", "$HOME/tmp/a", "runs/demo", "1/data/2"])
def test_the_pattern_lets_the_rest_pass(text: str) -> None:
    assert not ELSEWHERE.search(text)


def test_every_fragment_of_the_changelog_says_something() -> None:
    fragments = [path for path in (ROOT / "changelog.d").glob("*") if not path.name.startswith(("README", "."))]
    assert fragments
    for path in fragments:
        topic, change, suffix = path.name.split(".")
        assert topic
        assert change in CHANGES
        assert suffix == "md"
        assert len(path.read_text(encoding="utf-8").split()) >= 4


LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in tracked()
        if path.suffix == ".md"
        for target in LINK.findall(text_of(path))
        if not re.match(r"[a-z]+:|#", target) and not (path.parent / target.partition("#")[0]).exists()
    ]
    assert not broken
