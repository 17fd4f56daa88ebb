"""Base distributions with weights.

learned    N(m, s**2), mean and deviation of each dimension
mixture    sum_k pi_k N(m_k, s_k**2)                                    several places at once
classes    N(m_c, s_c**2) for the class c that is the context           one place for each class

Affine maps and splines are continuous and one to one: they cannot tear one normal into two islands, only stretch the
bridge between them thin. A mixture has islands to begin with. `Mixture.from_data` puts them where data are, by
k-means; data there means data as the base sees them, `flow.encode(x)`.

Draws have the derivatives of means and deviations. Those of a mixture's weights they do not have: which component a
draw comes from does not change by little and little. `log_prob` has them all, and its gradient at draws that are held
fixed, times what is averaged, is the derivative of the average (the score function). A path on which mass flows from
island to island as weights change exists (Figurnov, Mohamed, Mnih 2018, arXiv 1805.08498), but it leads through the
gaps where no draw lies (`docs/failures.md`). A mixture whose weights are frozen has all its derivatives.

The class-conditional base without a class is the mixture of all of them in equal parts.

References:
    Arthur, Vassilvitskii 2007, SODA (k-means++).
    Izmailov, Kirichenko, Finzi, Wilson 2020, arXiv 1912.13025 (one normal for each class).
    Cornish, Caterini, Deligiannidis, Doucet 2020, arXiv 1909.13833 (why one to one maps leave bridges).
"""

import math

import torch
from torch import Tensor, nn

from pushforward._classes import indices
from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Context, PerSample, Sample
from pushforward.models.base import Base


class LearnedNormal(nn.Module, Base):
    """Independent normals with learned means and deviations, 0 and 1 at the start.

    Args:
        shape: the event's shape.
    """

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.shape, self.std = tuple(shape), 1.0
        self.mean, self.log_std = (
            nn.Parameter(torch.zeros(math.prod(shape))),
            nn.Parameter(torch.zeros(math.prod(shape))),
        )

    def sample(self, n: int, draw: Draw, context: Context = None) -> Sample:
        noise = draw.normal(n, self.shape).to(self.mean.dtype)
        return self.mean.reshape(self.shape) + self.log_std.exp().reshape(self.shape) * noise

    def log_prob(self, z: Sample, context: Context = None) -> PerSample:
        return _log_normal(z.flatten(1), self.mean, self.log_std)


class Mixture(nn.Module, Base):
    """A mixture of normals with learned weights, means and deviations.

    Args:
        shape: the event's shape.
        components: K, 1 or more.
        seed: where the means start, N(0, 1).

    Raises:
        ConfigError: no component.

    >>> Mixture((2,), 3).log_prob(torch.zeros(4, 2)).shape
    torch.Size([4])
    """

    def __init__(self, shape: tuple[int, ...], components: int, seed: int = 0):
        super().__init__()
        if components < 1:
            raise ConfigError(explain("one component or more", f"{components}", "Give as many as there are islands."))
        self.shape, self.std = tuple(shape), 1.0
        means = Draw(seed, "models/mixture").normal(components, (math.prod(shape),))
        self.raw_weight = nn.Parameter(torch.zeros(components))
        self.mean = nn.Parameter(means)
        self.log_std = nn.Parameter(torch.zeros_like(means))

    @classmethod
    def from_data(cls, z: Sample, components: int, seed: int = 0) -> "Mixture":
        """Components where k-means finds clusters of z [n, *shape], with their weights and deviations.

        Raises:
            ConfigError: fewer events than components.
        """
        if len(z) < components:
            raise ConfigError(explain(f"{components} events or more", f"{len(z)}", "Give more data."))
        made, flat = cls(tuple(z.shape[1:]), components, seed).to(z), z.detach().flatten(1)
        mean, cluster = _k_means(flat, components, Draw(seed, "models/k-means"))
        member = nn.functional.one_hot(cluster, components).to(flat.dtype)
        count = member.sum(0)
        # a cluster of few takes part of its deviation from all data, or it would collapse on them
        square = torch.einsum("nk,nkd->kd", member, (flat[:, None] - mean).square())
        variance = (square + flat.var(0, correction=0)) / (count[:, None] + 1)
        with torch.no_grad():
            made.mean.copy_(mean)
            made.log_std.copy_(0.5 * variance.clamp_min(1e-8).log())
            made.raw_weight.copy_((count + 1).log())
        return made

    @property
    def has_rsample(self) -> bool:
        """Unless the weights learn: draws do not have their derivatives."""
        return len(self.raw_weight) == 1 or not self.raw_weight.requires_grad

    def sample(self, n: int, draw: Draw, context: Context = None) -> Sample:
        share = self.raw_weight.detach().softmax(0).cumsum(0)
        k = torch.searchsorted(share, draw.of("component").uniform(n).to(share.dtype), right=True)
        k = k.clamp_max(len(share) - 1)
        noise = draw.normal(n, self.shape).flatten(1).to(self.mean.dtype)
        return (self.mean[k] + self.log_std[k].exp() * noise).reshape(n, *self.shape)

    def log_prob(self, z: Sample, context: Context = None) -> PerSample:
        each = _log_normal(z.flatten(1).unsqueeze(1), self.mean, self.log_std)
        return (self.raw_weight.log_softmax(0) + each).logsumexp(1)


class ClassNormal(nn.Module, Base):
    """One learned normal for each class; the context is the class, [batch] of whole numbers.

    Without a context, or for index `classes`, it is the mixture of all classes in equal parts.

    Args:
        shape: the event's shape.
        classes: how many, 2 or more.
        seed: where the means start, N(0, 1).

    Raises:
        ConfigError: fewer than two classes.
    """

    def __init__(self, shape: tuple[int, ...], classes: int, seed: int = 0):
        super().__init__()
        if classes < 2:
            raise ConfigError(explain("two classes or more", f"{classes}", "Use LearnedNormal for one."))
        self.shape, self.std, self.classes = tuple(shape), 1.0, classes
        means = Draw(seed, "models/classes").normal(classes, (math.prod(shape),))
        self.mean, self.log_std = nn.Parameter(means), nn.Parameter(torch.zeros_like(means))

    def sample(self, n: int, draw: Draw, context: Context = None) -> Sample:
        drawn = draw.of("class").integers(n, self.classes)
        given = None if context is None else indices(context)
        c = drawn if given is None else torch.where(given < self.classes, given, drawn)
        noise = draw.normal(n, self.shape).flatten(1).to(self.mean.dtype)
        return (self.mean[c] + self.log_std[c].exp() * noise).reshape(n, *self.shape)

    def log_prob(self, z: Sample, context: Context = None) -> PerSample:
        each = _log_normal(z.flatten(1).unsqueeze(1), self.mean, self.log_std)
        of_all = each.logsumexp(1) - math.log(self.classes)
        if context is None:
            return of_all
        c = indices(context)
        own = each.gather(1, c.clamp_max(self.classes - 1)[:, None]).squeeze(1)
        return torch.where(c < self.classes, own, of_all)


def _log_normal(z: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    u = (z - mean) * (-log_std).exp()
    return (-0.5 * u.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)


def _k_means(x: Tensor, k: int, draw: Draw, steps: int = 50) -> tuple[Tensor, Tensor]:
    """Lloyd's iterations from a k-means++ start: (centres [k, d], the cluster of each row)."""
    u = draw.uniform(k).to(x)
    chosen = [int(u[0] * len(x))]
    for i in range(1, k):
        far = torch.cdist(x, x[chosen]).amin(1).square()
        share = (far + 1e-12).cumsum(0)
        chosen.append(min(int(torch.searchsorted(share, u[i] * share[-1])), len(x) - 1))
    centre, cluster = x[chosen].clone(), torch.full((len(x),), -1, device=x.device)
    for _ in range(steps):
        nearest = torch.cdist(x, centre).argmin(1)
        if torch.equal(nearest, cluster):
            break
        cluster = nearest
        count = torch.bincount(cluster, minlength=k)
        mean = torch.zeros_like(centre).index_add(0, cluster, x) / count.clamp_min(1)[:, None]
        centre = torch.where(count[:, None] > 0, mean, centre)
    return centre, cluster
