import io
import sys
import threading

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from pushforward._errors import ShapeError
from pushforward._random import Draw
from pushforward.report import plots

NOISE = Draw(0).normal(60, (2,))
DRAWINGS = {
    "images": lambda: plots.images(torch.rand(9, 1, 4, 4), 3, 0, 1),
    "colour images": lambda: plots.images(torch.rand(4, 3, 4, 4)),
    "scatter": lambda: plots.scatter(NOISE),
    "pairs": lambda: plots.pairs({"data": Draw(0).normal(50, (3,)), "samples": Draw(1).normal(50, (3,))}, ("a", "b")),
    "trajectories": lambda: plots.trajectories([NOISE, NOISE / 2, NOISE / 4], NOISE),
    "curves": lambda: plots.curves({"loss": (range(100), [1 / (1 + i) for i in range(100)])}),
    "flat curve": lambda: plots.curves({"loss": (range(3), [-1.0, 0.0, 2.0])}),
}


def pixels(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    return np.asarray(Image.open(buffer).convert("RGBA"))


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_every_drawing_shows_something_on_a_clear_ground(draw):
    alpha = pixels(draw())[..., 3]
    assert (alpha > 0).any()
    assert (alpha == 0).any()


def test_pyplot_is_not_used():
    assert "matplotlib.pyplot" not in sys.modules


def test_threads_do_not_disturb_each_other():
    alone = pixels(DRAWINGS["trajectories"]())
    seen: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: seen.append(pixels(DRAWINGS["trajectories"]()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 3
    assert all(np.array_equal(alone, other) for other in seen)


def test_images_keep_their_place_and_value():
    x = torch.zeros(2, 1, 4, 4)
    x[1] = 1
    shown = plots.images(x, 2, 0, 1).axes[0].images[0].get_array()
    assert shown.shape == (4, 9, 4)
    assert (shown[:, :4, :3] == 0).all()
    assert (shown[:, 5:, :3] == 1).all()
    assert (shown[:, 4, 3] == 0).all()
    ink = plots.images(x, 2, 0, 1, ink=True).axes[0].images[0].get_array()
    assert (ink[:, :4, 3] == 0).all()
    assert (ink[:, 5:, 3] == 1).all()


def test_principal_components_of_a_known_cloud():
    x = Draw(0).normal(2000, (3,), torch.float64) * torch.tensor([1.0, 5.0, 0.1]) + 3
    project = plots.principal(x)
    assert project.axes.abs().argmax(0).tolist() == [1, 0]
    assert (project.axes.T @ project.axes - torch.eye(2)).abs().max() < 1e-9
    assert project(x).var(0).tolist() == pytest.approx([25, 1], rel=0.1)
    flipped = plots.principal(x[Draw(1).permutation(2000)])
    assert torch.allclose(flipped.axes, project.axes)


@pytest.mark.parametrize("draw", [plots.scatter, plots.images])
def test_wrong_shapes_are_refused(draw):
    with pytest.raises(ShapeError, match=r"Plot other|Project other"):
        draw(torch.zeros(3, 5))


def test_colours_can_be_told_apart_and_read_on_both_papers():
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(a: str, b: str) -> float:
        high, low = sorted([luminance(a), luminance(b)], reverse=True)
        return (high + 0.05) / (low + 0.05)

    for colour in (plots.INK, plots.BLUE, plots.ORANGE, plots.GREEN):
        assert contrast(colour, "#fcfcfb") > 3
        assert contrast(colour, "#15181c") > 3
