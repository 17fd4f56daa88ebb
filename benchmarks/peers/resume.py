"""A run stopped in mid-epoch against one that was not: by Accelerate, as diffusers' examples use it, and by Lightning.

    python benchmarks/peers/resume.py

Fifty steps of a small net with dropout and noise, 16 to an epoch, stopped at step 21 and gone on with: by `load_state`
and `skip_first_batches`, or by `fit(ckpt_path=...)`. Then a bit of its weights is flipped. The same of this library is
`tests/faults`.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

STOP, STEPS, EPOCH = 21, 50, 16


def problem() -> tuple[nn.Module, Tensor]:
    """The net and its rows."""
    net = nn.Sequential(nn.Linear(2, 16), nn.Dropout(0.2), nn.SiLU(), nn.Linear(16, 2))
    return net, torch.randn(10 * EPOCH, 2, generator=torch.Generator().manual_seed(1))


def by_accelerate(stop: int, folder: Path | None = None, resume: bool = False) -> list[Tensor]:
    """The weights after so many steps, saved to a folder or begun from it."""
    from accelerate import Accelerator
    from accelerate.utils import set_seed

    set_seed(0)
    accelerator = Accelerator(cpu=True)
    net, rows = problem()
    loader = DataLoader(rows, 10, shuffle=True)
    net, optimizer, loader = accelerator.prepare(net, torch.optim.AdamW(net.parameters(), 1e-3), loader)
    step = 0
    if resume and folder:
        accelerator.load_state(str(folder))
        step = STOP
    while step < stop:
        left = accelerator.skip_first_batches(loader, step % EPOCH) if step % EPOCH else loader
        for x in left:
            if step == stop:
                break
            eps = torch.randn_like(x)
            accelerator.backward((net(x + eps) - eps).square().mean())
            optimizer.step()
            optimizer.zero_grad()
            step += 1
    if folder and not resume:
        accelerator.save_state(str(folder))
    return [parameter.detach().clone() for parameter in net.parameters()]


def accelerate(folder: Path) -> None:
    """Print what came of it there."""
    import accelerate

    whole = by_accelerate(STEPS)
    by_accelerate(STOP, folder)
    said(f"accelerate {accelerate.__version__}", whole, by_accelerate(STEPS, folder, resume=True))
    (file,) = folder.glob("*.safetensors")
    flip(file, file.stat().st_size - 3)
    flipped(lambda: by_accelerate(STOP + 1, folder, resume=True))


def lightning(folder: Path, loader: type[DataLoader], numbers: bool = False) -> None:
    """Print what came of it there."""
    import resume_lightning as peer
    from lightning import seed_everything

    def trained(stop: int, place: Path, resume: Path | None = None) -> list[Tensor]:
        seed_everything(0, verbose=False)
        net, rows = problem()
        return peer.trained(net, loader(rows, 10, shuffle=True), stop, place, resume, numbers)

    whole, half = trained(STEPS, folder / "whole"), trained(STOP, folder / "half")
    file = folder / f"half/step={STOP}.ckpt"
    name = f"lightning {peer.VERSION}, {loader.__name__}" + ", a callback of one's own for the generator" * numbers
    said(name, whole, trained(STEPS, folder / "again", file))
    flip(file, file.read_bytes().index(half[0].numpy().tobytes()) + 1)
    flipped(lambda: trained(STOP + 1, folder / "flipped", file))


def said(name: str, whole: list[Tensor], again: list[Tensor]) -> None:
    """Print how far the weights of the two runs are apart."""
    off = max(float((a - b).abs().max()) for a, b in zip(whole, again))
    came = f"weights differ by up to {off:.2g}" if off else "the same bits"
    print(f"{name}, stopped at step {STOP} of {STEPS}: {came}")


def flip(file: Path, place: int) -> None:
    """Change a bit of a file."""
    data = bytearray(file.read_bytes())
    data[place] ^= 64
    file.write_bytes(bytes(data))


def flipped(read: Callable[[], object]) -> None:
    """Print whether a flipped bit is noticed."""
    try:
        read()
        print("    a flipped bit of its weights is loaded in silence")
    except Exception as error:
        print(f"    a flipped bit of its weights is refused: {error}")


def main() -> None:
    """Print what came of it, of those that are installed."""
    with tempfile.TemporaryDirectory() as name:
        try:
            accelerate(Path(name))
        except ImportError:
            print("accelerate is not installed: nothing to compare with")
    try:
        from torchdata.stateful_dataloader import StatefulDataLoader

        for loader, numbers in ((DataLoader, False), (StatefulDataLoader, False), (StatefulDataLoader, True)):
            with tempfile.TemporaryDirectory() as name:
                lightning(Path(name), loader, numbers)
    except ImportError as error:
        print(f"{error.name} is not installed: nothing to compare with")


if __name__ == "__main__":
    main()
