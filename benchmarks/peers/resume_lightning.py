"""The trial of `resume.py` by Lightning: `ModelCheckpoint` every seven steps, gone on with by `fit(ckpt_path=...)`.

`loader` is torch's DataLoader or, as Lightning's warning about checkpoints in mid-epoch asks for, one with a state.
`Numbers` is not documented there: torch's generator kept by a callback, what a specialist would add.
"""

import logging
import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

VERSION = lightning.__version__
SAVED = 7


class Denoiser(lightning.LightningModule):
    """The small net with dropout and noise."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def training_step(self, x: Tensor) -> Tensor:
        eps = torch.randn_like(x)
        return (self.net(x + eps) - eps).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.net.parameters(), 1e-3)


class Numbers(Callback):
    """Keeps the state of torch's generator in checkpoints, and takes it back before the first batch."""

    def __init__(self) -> None:
        self._held: Tensor | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"torch": torch.get_rng_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._held = state_dict["torch"]

    def on_train_batch_start(self, *_: object) -> None:
        if self._held is not None:
            torch.set_rng_state(self._held)
            self._held = None


def trained(
    net: nn.Module, loader: DataLoader, stop: int, folder: Path, resume: Path | None = None, numbers: bool = False
) -> list[Tensor]:
    """The weights after so many steps, with checkpoints on the way, or begun from one."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    keeper = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=SAVED, save_top_k=-1)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=stop,
        deterministic=True,
        callbacks=[keeper, *([Numbers()] if numbers else [])],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(Denoiser(net), loader, ckpt_path=resume)
    return [parameter.detach().clone() for parameter in net.parameters()]
