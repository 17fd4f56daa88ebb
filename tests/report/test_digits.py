"""The judge and the page on the digits that come with the package."""

import pytest

from pushforward.report import judge

shipped = pytest.importorskip("pushforward.data.shipped")


def test_the_judge_knows_held_out_digits():
    assert judge(shipped.digits()).accuracy > 0.97
