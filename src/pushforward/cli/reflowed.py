"""What `pushforward reflow` says at its end: teacher and student beside each other, and whether another round pays."""

import os
from pathlib import Path
from typing import Any

import pushforward as pf
from pushforward._errors import DataError, RunError
from pushforward.cli.options import prepare
from pushforward.cli.runs import named, speak
from pushforward.cli.units import data_of


def tell_stages(options: Any, path: Path) -> None:
    """Measure the teacher and the student and print both, with a suggestion; nothing if --measure is 0.

    Args:
        options: of `reflow`.
        path: the student's run folder.
    """
    if not options.measure or os.environ.get("RANK", "0") != "0":
        return None
    try:
        units, data = data_of(options.run, options.data)
    except (DataError, RunError) as error:
        return speak(f"Not measured, as the data of the run are not there: {error}")
    device = str(prepare(options.settings.device, options.settings.threads))
    models: Any = {name: pf.load(place, device=device) for name, place in named((options.run, path)).items()}
    conditional, n = bool(units.labels), max(40, options.measure)
    scored = min(256, options.measure)
    found = pf.report.stages(models, data, n, options.settings.seed, conditional, scored, progress=True)
    return speak("", str(found), "", found.advice())
