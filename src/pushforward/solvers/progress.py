"""A progress bar around any trajectory: solvers know nothing of bars."""

from tqdm import tqdm

from pushforward._typing import Sample
from pushforward.solvers.state import Trajectory


def progress(trajectory: Trajectory, steps: int | None = None, label: str = "solving") -> Trajectory:
    """The same trajectory, edits and final x included, with a bar that says how far it has come.

    Args:
        trajectory: of any solver or model.
        steps: how many states it yields; without it the bar counts and does not know the end.
        label: what the bar says.

    >>> import torch
    >>> from pushforward.solvers import Euler, drain
    >>> drain(progress(Euler(steps=2).trajectory(lambda x, t: x, torch.ones(1)), steps=2))  # (1 - 1/2)**2
    tensor([0.2500])
    """
    with tqdm(total=steps, desc=label, leave=False) as bar:
        edited: Sample | None = None
        while True:
            try:
                state = next(trajectory) if edited is None else trajectory.send(edited)
            except StopIteration as stop:
                return stop.value
            bar.update()
            bar.set_postfix(t=f"{state.t.flatten()[0].item():.3f}", calls=state.nfe)
            edited = yield state
