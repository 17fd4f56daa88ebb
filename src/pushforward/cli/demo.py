"""`pushforward demo`: the whole library at work on handwritten digits.

Four models, each a run folder that other verbs can read: a rectified flow, the same flow straightened by one reflow,
a student of it that needs one network call, and NICE, the companion whose likelihood needs no integration. Then one
table and one page. Stopped on the way, the same command goes on where it was.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

import pushforward as pf
from pushforward._durable import write_text
from pushforward._recipe import NICE, Diffusion, Recipe, Settings, Transformer
from pushforward.cli.options import FLAT, Machine, Session
from pushforward.cli.runs import Remembered, speak, trained
from pushforward.cli.train import started
from pushforward.cli.units import units_of

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True)
class Demo:
    """See the whole library at work on handwritten digits, in about three minutes on two CPU cores.

    Learn to push noise forward to digits, straighten the flow, and generate in one network call; beside it NICE, with
    an exact likelihood. Writes four run folders, a table and a page of pictures.

    Examples:
      pushforward demo
      pushforward demo --small --out demo     in seconds, to see that everything runs
    """

    out: Annotated[Path, arg(aliases=["-o"], metavar="FOLDER")] = Path("runs/demo")
    """Where the runs, the samples and the page go. An interrupted demo in it is continued."""
    small: bool = False
    """Few steps and few samples: quick, and not good."""
    machine: Annotated[Machine, FLAT] = Machine()
    session: Annotated[Session, FLAT] = Session()


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything.

    Args:
        flow, straight, jump, nice: how each model is trained.
        pairs: pairs of noise and sample that the flow makes; as many again start from real images.
        samples: of each model, to be compared with held-out images.
        scored: held-out images whose likelihood is integrated.
        paths: trajectories whose straightness is measured.
    """

    flow: Settings
    straight: Settings
    jump: Settings
    nice: Settings
    pairs: int
    samples: int
    scored: int
    paths: int


_FAST = Settings(batch=128, betas=(0.9, 0.99))
FULL = Plan(
    flow=replace(_FAST, steps=2_000, lr=2e-3),
    straight=replace(_FAST, steps=1_000, lr=1e-3),
    jump=replace(_FAST, steps=1_000, lr=5e-4),
    nice=Settings(steps=600, lr=2e-3, weight_decay=1.0, ema=0.99, batch=128),
    pairs=8_192,
    samples=2_000,
    scored=360,
    paths=256,
)
SMALL = Plan(
    flow=Settings(steps=40, lr=2e-3, batch=64, log_every=10),
    straight=Settings(steps=20, batch=64, log_every=10),
    jump=Settings(steps=20, batch=64, log_every=10),
    nice=Settings(steps=20, batch=64, log_every=10),
    pairs=128,
    samples=120,
    scored=20,
    paths=16,
)
FLOW = Diffusion(net=Transformer(width=96, layers=3, heads=4, patch=4))
COMPANION = NICE(
    hidden=512, layers=2, dropout=0.3, zero_output=True, spread=0.0, support=(-1.0, 1.0), alpha=0.01
)  # fmt: skip


def run(options: Demo) -> None:
    """Train, straighten, distil, compare, and write the page."""
    from pushforward.cli.demo_page import Part, Story, page, table

    begun = time.monotonic()
    plan = SMALL if options.small else FULL
    options.machine.prepare()
    data = pf.data.digits()
    speak(data.describe())
    studio = Studio(options, data)
    flow, flow_history = studio.flow(plan)
    pairs = studio.pairs(plan, flow)
    straight, straight_history = studio.student("straight", plan.straight, flow, pairs, pf.objectives.Regression())
    jump, jump_history = studio.student("one-step", plan.jump, straight, pairs, pf.objectives.Distillation(steps=1))
    nice, nice_history = studio.companion(plan)
    parts = (
        Part("rectified flow", flow, flow_history, (1, 2, 4, 8, 50), scored=plan.scored),
        Part("after one reflow", straight, straight_history, (1, 2, 8), scored=plan.scored),
        Part("distilled to one step", jump, jump_history, (1,), scored=0),
        Part("NICE", nice, nice_history, (), scored=len(data.held_out)),
    )
    story: Story = Story.told(parts, data, plan.samples, plan.paths, options.machine.seed)
    command = "pushforward demo" + (" --small" if options.small else "") + f" --seed {options.machine.seed}"
    place = page(story, command, time.monotonic() - begun).save(options.out / "report.html")
    text = table(story)
    write_text(options.out / "table.txt", text + "\n")
    speak("", text, "", *story.verdict(), "", f"{time.monotonic() - begun:.0f} s in all. Open {place} in a browser.")


@dataclass(frozen=True, slots=True)
class Studio:
    """Where the demo's models are made: its options and its data."""

    options: Demo
    data: "pf.data.Dataset"

    def flow(self, plan: Plan) -> "tuple[pf.Diffusion, pf.training.History]":
        """A rectified flow from noise to digits."""
        model: Any = started(FLOW, self.data.unlabelled(), self.options.machine.seed)
        return model, self._train("flow", model, plan.flow, self.data.unlabelled(), pf.objectives.Regression(), FLOW)

    def companion(self, plan: Plan) -> "tuple[pf.NormalizingFlow, pf.training.History]":
        """NICE, behind a logit, with a start from data."""
        seen = self.data.unlabelled()
        model: Any = started(COMPANION, seen, self.options.machine.seed)
        return model, self._train("nice", model, plan.nice, seen, pf.objectives.Likelihood(), COMPANION)

    def pairs(self, plan: Plan, flow: "pf.Diffusion") -> "pf.objectives.Pairs | None":
        """Pairs of noise and sample, and of real images and their noise; None where nothing is left to train."""
        from pushforward._random import Draw

        if (self.options.out / "one-step" / "model.safetensors").exists():
            return None
        objectives, solver, seed = pf.objectives, pf.solvers.Heun(steps=12), self.options.machine.seed
        made = objectives.pairs(flow, plan.pairs, solver, seed + 1, progress=True)
        draw, per_round = Draw(seed, "demo/real"), min(plan.pairs, len(self.data))
        for again in range(plan.pairs // (2 * per_round)):
            real = self.data.train_batch(draw.of(str(again)), per_round).x.to(flow.device)
            made = made + objectives.pairs_from(flow, real, solver)
        return replace(made, x=made.x.cpu(), eps=made.eps.cpu())

    def student(
        self,
        name: str,
        settings: Settings,
        teacher: "pf.Diffusion",
        pairs: "pf.objectives.Pairs | None",
        objective: "pf.objectives.Objective",
    ) -> "tuple[pf.Diffusion, pf.training.History]":
        """A copy of the teacher, trained on its pairs."""
        model: Any = pf.training.build(FLOW, self.data.shape)
        model.load_state_dict(teacher.state_dict())
        source = self.data.unlabelled() if pairs is None else pairs
        return model, self._train(name, model, settings, source, objective, FLOW)

    def _train(
        self, name: str, model: Any, settings: Settings, source: Any, objective: Any, recipe: Recipe
    ) -> "pf.training.History":
        machine, path = self.options.machine, self.options.out / name
        chosen = replace(settings, seed=machine.seed, device=machine.device, threads=machine.threads)
        speak(f"{name}: {settings.steps:,} steps into {path}")
        remembered = Remembered(source, units_of(self.data, "digits"), path)
        return trained(model, remembered, objective, chosen, recipe=recipe)
