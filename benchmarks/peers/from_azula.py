"""azula's samplers: evenly spaced times on any of its schedules, which it lets one exchange under a denoiser.

So each schedule is a grid, set to run between the path's noise levels; on the linear path they keep azula's own
defaults, whose first level is 1000. Its samplers stop at their last noise level and keep that noise; rows "then D"
add one denoising, one call more.
"""

from collections.abc import Callable, Iterator

import torch
from azula import noise, sample
from azula.denoise import Denoiser as Base
from azula.denoise import DiracPosterior
from torch import Tensor

from peers.peer import Peer, at
from peers.problem import LINEAR, Curve, Denoiser

SAMPLERS = {"DDIM": sample.DDIMSampler, "Heun": sample.HeunSampler}  # its Euler is DDIM
MULTISTEP = {
    "zAB": sample.zABSampler, "vAB": sample.vABSampler, "zEAB": sample.zEABSampler,
    "xEAB": sample.xEABSampler, "REAB": sample.REABSampler,
}  # fmt: skip


class Perfect(Base):
    """The exact denoiser in azula's form."""

    def __init__(self, denoiser: Denoiser, schedule: noise.Schedule) -> None:
        super().__init__()
        self.exact, self.schedule = denoiser, schedule

    def forward(self, x_t: Tensor, t: Tensor, **kwargs: object) -> DiracPosterior:
        return DiracPosterior(mean=at(self.exact, x_t, *self.schedule(t)))


def _schedules(curve: Curve) -> dict[str, noise.Schedule]:
    if curve is LINEAR:
        kinds = {"rectified": noise.RectifiedSchedule, "cosine": noise.CosineSchedule, "decay": noise.DecaySchedule}
        return {name: kind() for name, kind in kinds.items()}
    last = curve.last
    # sigma is about 1 at the noisy end of all but VE
    ends = {"alpha_min": 1 / curve.first, "sigma_min": last}
    return {
        "VE": noise.VESchedule(last, curve.first),
        "VP": noise.VPSchedule(**ends),
        "cosine": noise.CosineSchedule(**ends),
        "rectified": noise.RectifiedSchedule(**ends),
        "decay": noise.DecaySchedule(**ends),
    }


def peers(curve: Curve) -> Iterator[Peer]:
    """Every deterministic sampler on every schedule."""
    for label, schedule in _schedules(curve).items():
        kinds = [(name, kind, {}) for name, kind in SAMPLERS.items()]
        kinds += [(f"{name}{n}", kind, {"order": n}) for name, kind in MULTISTEP.items() for n in (2, 3, 4)]
        for name, kind, extra in kinds:
            for last in (False, True):
                title = f"{name}, {label}" + (", then D" if last else "")
                yield Peer("azula", title, _on(kind, schedule, extra, last))


def _on(kind: type, schedule: noise.Schedule, extra: dict[str, int], last: bool) -> Callable[..., Tensor]:
    def run(denoiser: Denoiser, eps: Tensor, steps: int) -> Tensor:
        sampler = kind(Perfect(denoiser, schedule), steps=steps, silent=True, dtype=eps.dtype, **extra)
        _, sigma = schedule(torch.ones((), dtype=eps.dtype))
        x = sampler(eps * sigma)
        end, left = schedule(torch.zeros((), dtype=eps.dtype))
        return at(denoiser, x, end, left) if last else x / end

    return run
