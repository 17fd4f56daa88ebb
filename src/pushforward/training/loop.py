"""The loop: batches in, a trained model out, nothing lost on the way.

    step s:  batch and noise, functions of (seed, s)  ->  one update  ->  now and then a line, a checkpoint

With a run folder, whatever ends the process early - a signal, a power cut, `kill -9` - costs at most the
steps since the last checkpoint: call `train` again with the same arguments and the final weights have the
same bits as those of a run that was never stopped. Several processes (torchrun) share each batch.
"""

import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from torch import Tensor

from pushforward import _config
from pushforward._errors import ConfigError, RunError, TrainingError, explain, out_of_memory
from pushforward._random import Draw
from pushforward._recipe import KINDS, Settings
from pushforward.data.batch import Batch
from pushforward.training.checkpoint import read_checkpoint
from pushforward.training.distributed import World, peer_lost
from pushforward.training.engine import Engine
from pushforward.training.environment import environment
from pushforward.training.guard import LIMIT, NotFinite
from pushforward.training.journal import History, Journal
from pushforward.training.memory import collect, frozen_heap, kept_pages, memory
from pushforward.training.progress import Progress
from pushforward.training.run_folder import RunFolder
from pushforward.training.saving import Saving
from pushforward.training.schedule import rate
from pushforward.training.signals import Interrupted, StopNote
from pushforward.training.stream import Data, steady, worker_died
from pushforward.training.tracking import Tracker, TrackerName, Tracking
from pushforward.training.weights import not_finite, weights


class Loop:
    """One call of `train`, from where its folder stands to the last step."""

    def __init__(
        self,
        engine: Engine,
        data: Data,
        settings: Settings,
        world: World,
        folder: RunFolder | None,
        note: StopNote,
        judge: Callable[[Any], float] | None = None,
        judge_every: int = 500,
    ) -> None:
        self.engine, self.data, self.settings = engine, data, settings
        self.world, self.folder, self.note = world, folder, note
        self.judge, self.judge_every = judge, judge_every
        self.journal, self.start, self.saved = Journal(), 0, -1
        self.eager = world.device.type == "cpu"
        self.saving, self.debug = Saving(), False
        self.tracking: Tracking | None = None

    def run(self, shown: bool, track: TrackerName | Tracker | None) -> History:
        """Resume, go through the steps, finish."""
        if self.folder is not None:
            self._resume(self.folder)
        shows = Progress(self.settings.steps, self.start, shown)
        with self._tracked(track), shows as progress, frozen_heap(), kept_pages(), closing(self):
            while not self._stepped(progress):
                pass
        self.engine.finish()
        if self.folder is not None:
            self._finish(self.folder)
        return self.journal.history()

    def close(self) -> None:
        """Wait for what is being written, and hear of it."""
        self.saving.wait()
        self._hear()

    @contextmanager
    def _tracked(self, track: TrackerName | Tracker | None) -> Generator[None]:
        """Within, metrics go to a tracker too, if there is one; the first process tells it."""
        if isinstance(track, str) and self.folder is None:
            got = f"track = {track!r} without one"
            raise ConfigError(explain("a run folder, where a tracker's name for the run is kept", got, "Pass run=."))
        if track is None or self.world.rank:
            yield
            return
        path, config = (self.folder.path, self.folder.config) if self.folder else (None, self.settings)
        self.tracking = tracking = Tracking(track, path, self.start, _config.to_table(config, KINDS))
        finished = False
        try:
            yield
            finished = True
        finally:
            tracking.close(finished)

    def _stepped(self, progress: Progress) -> bool:
        """Go through the steps; False if they go on after a rollback."""
        try:
            if self.settings.on_nan == "rollback":
                self._checkpoint(self.start, must=True)  # there is always one to go back to
            self._steps(progress)
        except NotFinite as error:
            if self.settings.on_nan != "rollback" or self.folder is None:
                raise self._explained(error) from None
            self._roll_back(self.folder, error)
            progress.advance()
            return False
        except (RuntimeError, MemoryError) as error:
            if (died := worker_died(error)) is not None:
                raise died from error
            if (lost := peer_lost(error)) is not None:
                raise lost from error
            if not out_of_memory(error):
                raise
            pieces = 2 * self.settings.accumulate
            fix = f"Ask for accumulate = {pieces}: the same gradient in less memory. What is on disk is untouched."
            got = f"none left ({' '.join(str(error).split())[:200]})"
            raise TrainingError(explain(f"memory for a batch of {self.settings.batch}", got, fix)) from error
        return True

    def _steps(self, progress: Progress) -> None:
        settings, engine, journal, note = self.settings, self.engine, self.journal, self.note
        device, stream = str(self.world.device), self._stream(self.start)
        batch_to = None if self.eager else device
        for step in range(self.start, settings.steps):
            batch = next(stream)
            loss, norm, stops = engine.advance(step, batch if batch_to is None else batch.to(batch_to), note.asked)
            done = step + 1
            journal.pending.append(loss)
            progress.advance()
            if self.saving.failed:
                self._hear()
            if self.eager and settings.on_nan == "skip":
                self._settled()
            edge = done % settings.log_every == 0 or done == settings.steps
            if edge:
                self._log(done, norm, progress)
            collect(done)
            if self.judge and (done % self.judge_every == 0 or done == settings.steps):
                self._judge(done, self.judge, progress)
            due = settings.checkpoint_every and done % settings.checkpoint_every == 0
            halt = (edge or self.eager or self.world.size == 1) and bool(stops) and done < settings.steps
            if due or halt or done == settings.steps:
                self._checkpoint(done, must=halt or done == settings.steps)
            if halt and self.folder is not None:
                raise Interrupted(done, self.folder.path)

    def _stream(self, start: int) -> Iterator[Batch]:
        settings, world, draw = self.settings, self.world, Draw(self.settings.seed, "data")
        return steady(lambda step: self.data.batches(settings.batch, draw, step, world.rank, world.size), start)

    def _settled(self) -> None:
        """Know of every update so far whether it was made."""
        self.engine.settled()
        for step in self.engine.skipped():
            self._leave_out(NotFinite(step), f"step {step} is skipped")

    def _leave_out(self, error: NotFinite, what: str) -> None:
        """Note that a bad step is left out, and why; a run that does so often is stopped."""
        explained = self._explained(error)
        self.journal.skipped.append(error.step)
        if len(self.journal.skipped) > LIMIT:
            raise explained
        warnings.warn(f"{what} ({len(self.journal.skipped)} of at most {LIMIT}). {explained}", stacklevel=2)

    def _roll_back(self, folder: RunFolder, error: NotFinite) -> None:
        """Take the weights of the newest checkpoint, and go on behind the bad step."""
        self.saving.wait()
        place = self.world.first(lambda: folder.newest(self._anchors()))
        assert place is not None
        checkpoint = read_checkpoint(place, check=False)
        self._leave_out(error, f"step {error.step} is left out, with the weights of step {checkpoint.step}")
        self.engine.restore(checkpoint)
        self.journal.forget()
        self.start = error.step + 1

    def _anchors(self) -> Callable[[int], bool]:
        """Where a rollback may lead: steps that have a checkpoint in every run, whatever signals add others."""
        if self.settings.on_nan != "rollback":
            return lambda step: False
        every, behind = self.settings.checkpoint_every, {step + 1 for step in self.journal.skipped}
        return lambda step: step in behind or (step % every == 0 if every else step == 0)

    def _hear(self) -> None:
        """Say what went wrong with a checkpoint that was being written."""
        error = self.saving.trouble()
        if error is not None:
            warnings.warn(f"No checkpoint at step {self.saved}: {error}. Training goes on.", stacklevel=2)

    def _log(self, done: int, norm: Tensor, progress: Progress) -> None:
        self._settled()
        loss = self.journal.enter(done)
        if loss is None:
            return
        held = memory(self.world.device)
        progress.tell(loss, held)
        facts = {
            "norm": norm.item() if bool(norm.isfinite()) else None,
            "lr": rate(done - 1, self.settings),
            "seconds": self.journal.seconds[-1],
        }
        self._write({"step": done, "loss": loss, **facts, **held})

    def _write(self, record: Mapping[str, Any]) -> None:
        """A line of metrics, to whoever keeps them."""
        if self.folder is not None and self.world.rank == 0:
            self.folder.log(record)
        if self.tracking is not None:
            self.tracking.log(record)

    def _judge(self, done: int, judge: Callable[[Any], float], progress: Progress) -> None:
        self.engine.settled()
        value = self.engine.judge(judge)
        self.journal.judged.append((done, value))
        progress.say(f"step {done}/{self.settings.steps}  judged {value:.6g}")
        self._write({"step": done, "judged": value})

    def _resume(self, folder: RunFolder) -> None:
        world = self.world
        place = world.first(folder.newest)
        if place is not None:
            checkpoint = read_checkpoint(place, check=False)
            self.engine.restore(checkpoint)
            self.start = self.saved = checkpoint.step
            self.journal = Journal.restored(dict(checkpoint.state))
        if world.rank == 0:
            folder.begin(self.start, environment(world.device, self.settings.seed, world.size))

    def _checkpoint(self, done: int, must: bool) -> None:
        folder = self.folder
        if folder is None or done == self.saved:
            return
        self._settled()
        checkpoint = self.engine.checkpoint(done, self.journal.state(), _config.to_table(folder.config, KINDS))
        if not_finite({name: checkpoint.model[name] for name in checkpoint.ema or checkpoint.model}):
            raise NotFinite(done)
        self.close()
        self.saved, anchors, kept = done, self._anchors(), self._keeps(done)
        if not must:
            if self.world.rank == 0:
                self.saving.begin(checkpoint, lambda copy: folder.checkpoint(copy, anchors, kept))
            return
        try:
            self.world.first(lambda: folder.checkpoint(checkpoint, anchors, kept))
        except OSError as error:
            fix = "Make room and run it again: it goes on from the checkpoint before."
            raise RunError(explain("to write the checkpoint", f"{error}", fix)) from error

    def _keeps(self, done: int) -> bool:
        """Whether the averages of this step are kept: at the same steps in every run, whatever signals stop it."""
        every, last = self.settings.checkpoint_every, done == self.settings.steps
        return bool(self.settings.profiles) and done > 0 and (last or (every > 0 and done % every == 0))

    def _finish(self, folder: RunFolder) -> None:
        self._checkpoint(self.settings.steps, must=True)  # of a run without a step
        tensors = weights(self.engine.model)
        try:
            self.world.first(lambda: folder.finish(tensors))
        except OSError as error:
            fix = "Make room and run it again."
            raise RunError(explain("to write the final weights", f"{error}", fix)) from error

    def _explained(self, error: NotFinite) -> Exception:
        names = self._named(error.step)
        return self.engine.explain(error, next(self._stream(error.step)), self.debug, names)

    def _named(self, step: int) -> Sequence[str]:
        """What this process's rows of a step are called, by data that can tell."""
        named, world = getattr(self.data, "named", None), self.world
        if named is None:
            return ()
        return named(self.settings.batch, Draw(self.settings.seed, "data"), step, world.rank, world.size)
