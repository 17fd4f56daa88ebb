"""A run stopped in mid-epoch against one that was not: Accelerate's `save_state`, as diffusers' examples use it.

    python benchmarks/peers/resume.py

Fifty steps of a small net with dropout and noise, 16 to an epoch, stopped at step 21 and gone on with by `load_state`
and `skip_first_batches`; then a bit of its weights is flipped. The same of this library is `tests/faults`.
"""

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

STOP, STEPS, EPOCH = 21, 50, 16


def trained(stop: int, folder: Path | None = None, resume: bool = False) -> list[Tensor]:
    """The weights after so many steps, saved to a folder or begun from it."""
    from accelerate import Accelerator
    from accelerate.utils import set_seed

    set_seed(0)
    accelerator = Accelerator(cpu=True)
    net = nn.Sequential(nn.Linear(2, 16), nn.Dropout(0.2), nn.SiLU(), nn.Linear(16, 2))
    rows = torch.randn(10 * EPOCH, 2, generator=torch.Generator().manual_seed(1))
    loader = torch.utils.data.DataLoader(rows, 10, shuffle=True)
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


def main() -> None:
    """Print what came of it."""
    try:
        import accelerate
    except ImportError:
        print("accelerate is not installed: nothing to compare with")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = trained(STEPS)
        trained(STOP, folder)
        again = trained(STEPS, folder, resume=True)
        off = max(float((a - b).abs().max()) for a, b in zip(whole, again))
        print(
            f"accelerate {accelerate.__version__}, stopped at step {STOP} of {STEPS}: weights differ by up to {off:.2g}"
        )
        (file,) = folder.glob("*.safetensors")
        data = bytearray(file.read_bytes())
        data[-3] ^= 64
        file.write_bytes(bytes(data))
        try:
            trained(STOP + 1, folder, resume=True)
            print("a flipped bit of its weights is loaded in silence")
        except Exception as error:
            print(f"a flipped bit of its weights is refused: {error}")


if __name__ == "__main__":
    main()
