"""Many events in files of their own, numbered by global index: made by any number of workers, each event once.

    plan.json                    how many events, how many to a file, and what makes them; written first
    part-000003.safetensors      events 3 size .. 4 size - 1
    part-000003.json             its size and SHA-256, written after it: a part counts when this verifies

Event i is a function of i alone, and a part is computed as one batch, so it has the same bytes whoever makes it. Worker
w of n makes the parts k = w mod n; what is there already and verifies is left alone, so the same command goes on after
any end, and a machine that was lost is replaced by running its share on another. Every file is written under a name of
its own and then moved, so two that make the same part at once do no harm; what a killed writer leaves behind has a name
that begins with a dot, and may be deleted.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from pushforward._durable import make, put, replacing, write_first, write_text
from pushforward._errors import ConfigError, RunError, explain
from pushforward._recipe import FORMAT_VERSION
from pushforward.training.files import as_json, pieces, read_json, require_version
from pushforward.training.signals import Interrupted, noted

_MOST: Final = 10**6
_TYPES: Final = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "U8": np.uint8}


@dataclass(frozen=True, slots=True)
class Shards:
    """A folder of `total` events, `size` to a file.

    Args:
        folder: where the files are.
        total: how many events there will be.
        size: how many are made at a time.

    Raises:
        ConfigError: no event, or more files than their names have room for.
    """

    folder: Path
    total: int
    size: int

    def __post_init__(self) -> None:
        if self.total < 1 or self.size < 1:
            got = f"{self.total} and {self.size}"
            raise ConfigError(explain("an event or more, and one or more to a file", got, "Change them."))
        if len(self) > _MOST:
            raise ConfigError(
                explain(f"at most {_MOST:,} files", f"{len(self):,}", "Put more into one: a larger size.")
            )

    @classmethod
    def begin(cls, folder: Path, total: int, size: int, maker: Mapping[str, Any]) -> "Shards":
        """The folder with this plan: a new one, or one that was begun with the same.

        Args:
            maker: what the events are functions of, as JSON values: weights, solver, seed.

        Raises:
            ConfigError: no event, or the folder was begun with another plan.
            RunError: the folder holds something else.
        """
        shards = cls(folder, total, size)
        make(folder)
        plan = {"format_version": FORMAT_VERSION, "total": total, "size": size, **maker}
        path = folder / "plan.json"
        if not path.exists():
            _refuse_strangers(folder)
            write_first(path, as_json(plan))
        before = read_json(path)
        for name in sorted(plan.keys() | before.keys()):
            if before.get(name) != json.loads(json.dumps(plan.get(name))):
                expected = f"{name} = {before.get(name)!r}, as {str(folder)!r} was begun"
                fix = "Go on with what it was begun with, or use another folder."
                raise ConfigError(explain(expected, f"{plan.get(name)!r}", fix))
        return shards

    @classmethod
    def open(cls, folder: Path) -> "Shards":
        """A folder that was begun, complete or not.

        Raises:
            RunError: it has no plan, or one of another version.
        """
        plan = read_json(folder / "plan.json")
        require_version(plan.get("format_version"), folder)
        total, size = plan.get("total"), plan.get("size")
        if type(total) is not int or type(size) is not int:
            got = f"{str(folder / 'plan.json')!r} without one"
            raise RunError(
                explain("a plan of so many events, so many to a file", got, "Make it again in a new folder.")
            )
        return cls(folder, total, size)

    def __len__(self) -> int:
        """How many files there will be."""
        return -(-self.total // self.size)

    def bounds(self, part: int) -> tuple[int, int]:
        """A part's first event, and how many it has."""
        first = part * self.size
        return first, min(self.size, self.total - first)

    def missing(self, worker: int = 0, workers: int = 1) -> list[int]:
        """The parts of this worker that are not there, or damaged.

        Raises:
            ConfigError: a worker outside 0..workers-1.
        """
        if not 0 <= worker < workers:
            got = f"worker {worker} of {workers}"
            raise ConfigError(explain("a worker from 0 to one less than there are", got, "Count from 0."))
        return [part for part in range(worker, len(self), workers) if not self.whole(part)]

    def whole(self, part: int) -> bool:
        """Whether a part is there and has the bytes that were written."""
        file, seal = self.file(part), self.file(part).with_suffix(".json")
        if not file.is_file() or not seal.is_file():
            return False
        try:
            with file.open("rb") as stream:
                digest = file_digest(stream, "sha256").hexdigest()
            return read_json(seal) == {"size": file.stat().st_size, "sha256": digest}
        except RunError:  # the seal itself is damaged
            return False

    def file(self, part: int) -> Path:
        """Where a part is."""
        return self.folder / f"part-{part:06d}.safetensors"

    def write(self, part: int, tensors: Mapping[str, Tensor]) -> None:
        """Write a part: its events first, then its seal."""
        file = self.file(part)
        with replacing(file) as beside:
            facts = put(beside, pieces(tensors))
        write_text(file.with_suffix(".json"), as_json(asdict(facts)))

    def fill(
        self,
        of: Callable[[int, int], Mapping[str, Tensor]],
        worker: int = 0,
        workers: int = 1,
        progress: str = "",
    ) -> None:
        """Make what is missing of a worker's share.

        Args:
            of: (first, count) -> tensors by name, each [count, ...], a function of the indices alone.
            worker, workers: whose share.
            progress: what to call it on stderr; nothing is shown if empty.

        Raises:
            Interrupted: a signal asked to stop; call again to go on.
        """
        todo = self.missing(worker, workers)
        with noted(listen=True) as note:
            for done, part in enumerate(tqdm(todo, desc=progress, disable=not progress, leave=False), 1):
                self.write(part, of(*self.bounds(part)))
                if note.asked and done < len(todo):
                    raise Interrupted(done, self.folder, f"{done:,} of {len(todo):,} files")

    def wait(self, seconds: float = 1.0) -> None:
        """Return when every part is there, whoever makes them; look this often."""
        pending = list(range(len(self)))
        while pending := [part for part in pending if not self.whole(part)]:
            time.sleep(seconds)

    def views(self) -> Iterator[dict[str, np.ndarray]]:
        """Each part's tensors by name, mapped into memory and not read.

        Raises:
            RunError: a part is not there.
        """
        for part in range(len(self)):
            file = self.file(part)
            if not file.is_file():
                got = f"{str(self.folder)!r}, which has {len(self) - len(self.missing())} of {len(self)} parts"
                raise RunError(explain("all parts", got, "Run the command that makes them again: it goes on."))
            yield _mapped(file)


def share(text: str) -> tuple[int, int]:
    """Worker and workers of "3/16": the fourth of sixteen, counted from 0.

    Raises:
        ConfigError: other words.

    >>> share("3/16")
    (3, 16)
    """
    worker, _, workers = text.partition("/")
    if not (worker.isdecimal() and workers.isdecimal() and int(worker) < int(workers)):
        raise ConfigError(explain("a share I/N with 0 <= I < N, as 3/16", repr(text), "Count from 0."))
    return int(worker), int(workers)


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """A digest of tensors by name, of a model's `state_dict()` say: what tells two makers apart.

    >>> fingerprint({"x": torch.zeros(2)}) == fingerprint({"x": torch.zeros(2, 1)})
    False
    """
    digest = sha256()
    for name, tensor in sorted(tensors.items()):
        bits = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode() + bits)
    return digest.hexdigest()


def _refuse_strangers(folder: Path) -> None:
    found = sorted(each.name for each in folder.iterdir() if not each.name.startswith("."))
    if found and "plan.json" not in found:  # another worker may have begun it just now
        got = f"{str(folder)!r}, which holds {', '.join(found[:3])}"
        raise RunError(explain("a folder that is new or empty", got, "Choose another."))


def _mapped(file: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file without reading them: its head, once checked, says where each begins.

    Raises:
        RunError: it is not whole, or has numbers that are not made here.
    """
    try:
        with safe_open(file, "np") as checked:
            odd = [name for name in checked.keys() if checked.get_slice(name).get_dtype() not in _TYPES]  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise RunError(explain("a safetensors file", f"{str(file)!r}: {error}", "Make it again.")) from error
    if odd:
        raise RunError(explain(f"numbers of types {', '.join(_TYPES)}", f"others in {str(file)!r}", "Make it again."))
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        head = json.loads(stream.read(length))
    return {
        name: np.memmap(file, _TYPES[fact["dtype"]], "r", 8 + length + fact["data_offsets"][0], tuple(fact["shape"]))
        for name, fact in head.items()
        if name != "__metadata__"
    }
