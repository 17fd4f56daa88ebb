"""Scores over seeds as a table and a picture."""

import math

import pytest

from pushforward.report.lengths import Scores, plot, ranked, table

ROWS = [
    Scores("a", "turns", {8: [2.0, 2.2], 16: [3.0, 3.0]}),
    Scores("b", "biases", {8: [1.0, 1.4], 16: [1.0, 1.2]}),
    Scores("c", "tokens", {8: [2.1001, 2.1], 16: [2.0, 2.0]}),
]


def test_the_best_at_the_trained_length_is_first_and_the_next_length_decides_between_equals():
    assert [row.name for row in ranked(ROWS, lower_is_better=True)] == ["b", "c", "a"]
    assert [row.name for row in ranked(ROWS, lower_is_better=False)] == ["a", "c", "b"]


def test_means_and_deviations_are_those_of_the_seeds():
    assert ROWS[0].means == pytest.approx((2.1, 3.0))
    assert ROWS[0].deviations == pytest.approx((math.sqrt(0.02), 0.0))
    assert "2.100 ± 0.141" in table(ROWS, "bits")
    one = Scores("a", "turns", {8: [2.0]})
    assert table([one], "bits").splitlines()[1].split() == ["a", "2.000"]


def test_a_table_in_markdown_has_a_row_for_each(tmp_path):
    lines = table(ROWS, "bits", markdown=True).splitlines()
    assert lines[0] == "| bits | 8 | 16 |"
    assert len(lines) == 5
    assert {line.count("|") for line in lines} == {4}


def test_the_picture_names_every_row_and_shows_the_trained_length():
    figure = plot(ROWS, "bits per character", "title")
    (axes,) = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "c", "b"]
    assert axes.get_xlim()[0] < 8
    assert axes.get_ylim()[0] < 1.1
    figure.canvas.draw()


def test_a_collapsed_row_does_not_press_the_others_flat():
    rows = [Scores(str(i), "biases", {8: [2.0 + i / 10], 16: [2.0 + i / 10]}) for i in range(9)]
    rows.append(Scores("lost", "tokens", {8: [2.0], 16: [50.0]}))
    assert plot(rows, "bits").axes[0].get_ylim()[1] < 5
