"""What the verbs that train have in common beyond their settings: who watches, and what to do in a bad step."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from tyro.conf import arg


@dataclass(frozen=True, slots=True)
class Steering:
    """Seeing and steering a training."""

    track: Annotated[Literal["tensorboard", "wandb", "trackio", "mlflow"] | None, arg(metavar="NAME")] = None
    """Send the metrics to a tracker too: tensorboard, wandb, trackio or mlflow, each an extra to install. A resumed run
    goes on in its tracker's run. `pushforward watch RUN` needs none."""
    pdb_on_nan: bool = False
    """Open the debugger in the middle of a step whose loss is not finite, with model and batch at hand."""

    def arguments(self) -> dict[str, Any]:
        """These, as `train` is told them."""
        return {"track": self.track, "pdb_on_nan": self.pdb_on_nan}
