"""`write(model, data, "page.html")`: everything one wants to know about a model on one page.

`write` is `build(...).save(path)`: draw samples, compare them with held-out data, score the held-out data, follow the
paths, and lay out the sections.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pushforward.models import Diffusion, Model
from pushforward.report.classifier import judge
from pushforward.report.page import Page

if TYPE_CHECKING:
    from pushforward.data import Dataset


from pushforward.report.compare import compare, draw_samples, is_conditional, likelihood
from pushforward.report.optimum import has_optimum, optimum_section
from pushforward.report.sections import (
    Curve,
    distances_section,
    glance_section,
    paths_section,
    reproduce_section,
    samples_section,
    training_section,
)


def write(
    model: Model,
    data: "Dataset",
    path: str | os.PathLike[str],
    *,
    history: Curve | None = None,
    before: Model | None = None,
    calls: Sequence[int] = (1, 2, 4, 8, 32),
    n: int | None = None,
    seed: int = 0,
    conditional: bool | None = None,
    code: str = "",
    title: str = "",
) -> Path:
    """Judge a model and write one self-contained HTML page.

    Args:
        model: what is judged; left as it was.
        data: what it was trained on; the held-out part is what samples are compared with.
        path: the file to write; missing folders are made.
        history: the training history, for a curve.
        before: a model whose paths are shown beside this one's (the one this was straightened or distilled from).
        calls: network calls per sample to show, for models that integrate; others ignore it.
        n: samples per set; None is as many as there are training events, at most 1,000.
        seed: of everything random on the page. Equal arguments give equal pages.
        conditional: whether the model takes the data's context; None asks the model's networks.
        code: the commands or program that made the model, shown as they are.
        title: heading of the page; None names the data.

    Returns:
        The path.

    Raises:
        ShapeError: samples that are not finite, or fewer than about 40 held-out events.
    """
    page = build(
        model, data, history=history, before=before, calls=calls, n=n, seed=seed, conditional=conditional,
        code=code or f'pf.report.write(model, data, "{os.fspath(path)}", seed={seed})', title=title,
    )  # fmt: skip
    return page.save(path)


def build(
    model: Model,
    data: "Dataset",
    *,
    history: Curve | None = None,
    before: Model | None = None,
    calls: Sequence[int] = (1, 2, 4, 8, 32),
    n: int | None = None,
    seed: int = 0,
    conditional: bool | None = None,
    code: str = "",
    title: str = "",
) -> Page:
    """The page of `write` as a value; the arguments are the same."""
    training = [m for m in model.modules() if m.training]
    model.eval()
    try:
        given = is_conditional(model, data) if conditional is None else conditional
        count = min(len(data.values), 1000) if n is None else n
        sets = draw_samples(model, data, calls, count, seed, given)
        critic = judge(data, seed)
        rows = compare(sets, data, critic, seed)
        bits = likelihood(model, data, seed, given)
        sections = [
            glance_section(model, bits, rows),
            samples_section(sets, data, seed),
            distances_section(rows, critic, len(data.held_out), count),
        ]
        if isinstance(model, Diffusion):
            sections.append(paths_section(model, data, before, seed, given))
            known = has_optimum(data, given) and not model.has_its_own_base()
            sections += [optimum_section(model, data, seed, given)] if known else []
        sections += [training_section(history)] if history is not None and len(history.steps) > 1 else []
        sections.append(reproduce_section(data, code, seed))
    finally:
        for module in training:
            module.training = True
    name = title or f"{type(model).__name__} on {data.name}"
    return Page(name, f"{data.describe()}.", tuple(sections), "Made by pushforward.")
