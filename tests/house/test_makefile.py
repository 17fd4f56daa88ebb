"""`make` alone lists the targets, and the targets a newcomer needs set everything up themselves."""

import re
import shutil
import subprocess

import pytest

from house.tree import ROOT

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments: str) -> str:
    """What make prints."""
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


@needs_make
def test_make_alone_lists_every_target() -> None:
    listed = set(re.findall(r"^  make (\w+)", make(), re.MULTILINE))
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert listed == set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE).group(1).split())  # type: ignore[union-attr]


@needs_make
@pytest.mark.parametrize("target", ["demo", "test", "check"])
def test_a_fresh_checkout_is_set_up_first(target: str) -> None:
    plan = make("--dry-run", "VENV=no-such-folder", target)
    assert "-m venv no-such-folder" in plan
    assert plan.index("-m venv") < plan.index("-c constraints.txt") < plan.rindex("no-such-folder/bin/")


TRACKERS = {"tensorboard", "wandb", "trackio", "mlflow"}
"""Extras that `make` never installs: each has tens of dependencies, whose versions are their users' business."""


def test_every_dependency_that_make_installs_is_pinned() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wanted = set(re.findall(r'^\s*"?([\w-]+)>=|"([\w-]+)>=', text, re.MULTILINE))
    names = {(a or b).lower().replace("_", "-") for a, b in wanted} - {"python"}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    assert names
    assert names - pinned == TRACKERS
