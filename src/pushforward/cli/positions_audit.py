"""`pushforward positions audit`: what a checkpoint does about positions, how exactly, and what is known to go wrong.

facts        what its configuration says, in plain words
exactness    how far scores are off by length, for the ways in which programs run such a model
promises     each property that the encoding promises, proved numerically (`check_encoding`)
findings     what is wrong with this checkpoint, and what goes wrong with such checkpoints elsewhere
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from pushforward._errors import ConfigError, explain
from pushforward.cli.options import FLAT, Machine, Session

if TYPE_CHECKING:
    from pushforward.positions import Phased, Position


@dataclass(frozen=True, slots=True)
class PositionsAudit:
    """Say what a checkpoint does about positions, how exactly, and what is known to go wrong.

    Reads config.json and the heads of the safetensors files: nothing is run, nothing unpickled, and large weights are
    not loaded. The folder of a run of `pushforward train` will do as well.

    Examples:
      pushforward positions audit models/llama
      pushforward positions audit models/roformer --lengths 512 1536 100000
      pushforward positions audit models/roformer --text poems.txt      which layout have its weights?
      pushforward positions audit runs/digits
    """

    folder: Annotated[Path, Positional, arg(metavar="FOLDER")]
    """A folder with config.json and, perhaps, safetensors; or a run folder."""
    lengths: Annotated[tuple[int, ...], arg(metavar="INT")] = ()
    """Lengths at which to say how far scores are off; by default the trained one and some usual ones."""
    text: Annotated[Path | None, arg(metavar="FILE")] = None
    """A text that a RoFormer with its vocab.txt should know: it is read in both layouts, and the lower loss tells which
    one the weights have."""
    machine: Annotated[Machine, FLAT] = Machine()
    session: Annotated[Session, FLAT] = Session()


def run(options: PositionsAudit) -> None:
    """Read, check, print."""
    if options.lengths and min(options.lengths) < 1:
        raise ConfigError(explain("--lengths of 1 or more", f"{options.lengths}", "Leave it out for usual ones."))
    options.machine.prepare()
    if (options.folder / "config.toml").is_file():
        _own(options)
    else:
        _foreign(options)


def _foreign(options: PositionsAudit) -> None:
    """A folder of the hubs."""
    from pushforward.interop.declared import declared, facts
    from pushforward.interop.defects import findings, stored
    from pushforward.interop.invariance import lengths_for

    found, tensors = declared(options.folder), stored(options.folder)
    weights = f"{len(tensors):,} tensors" if tensors else "none in safetensors; the configuration alone was read"
    _facts([*facts(found), ("weights", weights)])
    for kind, each in found.rotary.items():
        _exactness(kind, each, found.features, options.lengths or lengths_for(found.trained))
    for kind, each in found.encodings.items():
        _promises(kind, each, 2 if kind in found.rotary else found.heads, found.features if kind in found.rotary else 8)
    if options.text is not None:
        _layout(options.folder, options.text)
    found_wrong = findings(found, tensors)
    print("\nFindings" + ("" if found_wrong else ": none"))
    for each in found_wrong:
        print(textwrap.fill(str(each), 100, initial_indent="  - ", subsequent_indent="    "))


def _layout(folder: Path, text: Path) -> None:
    """Losses of a RoFormer in both layouts."""
    from pushforward.data import word_pieces
    from pushforward.interop import load_roformer
    from pushforward.interop.layouts import losses_by_layout
    from pushforward.positions import detect_layout

    words = text.read_text(encoding="utf-8", errors="replace")
    losses = losses_by_layout(load_roformer(folder), word_pieces(folder / "vocab.txt"), words)
    found = detect_layout(losses.__getitem__)
    print(f"\nLoss on {text.name} in each layout, nats per word")
    for layout, loss in losses.items():
        print(f"  {layout:<12}{loss:>7.3f}")
    print(
        f"  The weights are {found}." if found else "  That does not tell: a text it knows, or a trained model, would."
    )


def _own(options: PositionsAudit) -> None:
    """A run of ours."""
    import pushforward as pf
    from pushforward.positions import Phased, Position

    model = pf.load(options.folder)
    net = next((each for each in model.modules() if isinstance(getattr(each, "position", None), Position)), None)
    position = getattr(net, "position", None)
    if not isinstance(position, Position):
        print(f"{options.folder}: {type(model).__name__}, without a position encoding: it has no tokens.")
        return
    heads, width = int(getattr(net, "heads", 4)), int(getattr(net, "width", 48))
    _facts([("model", f"{type(model).__name__} of {type(net).__name__}"), ("encoding", f"{position}")])
    if isinstance(position, Phased) and position.properties.axes == 1:
        _exactness("", position, width // heads, options.lengths or (1_024, 16_384, 1_048_576))
    _promises("", position, heads, width // heads)


def _facts(rows: Sequence[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, words in rows:
        print(textwrap.fill(f"{name:<{width}}  {words}", 110, subsequent_indent=" " * (width + 2)))


def _exactness(kind: str, encoding: "Phased", features: int, lengths: Sequence[int]) -> None:
    """Errors of scores by way and length."""
    from pushforward.interop.invariance import score_errors

    print(f"\nLargest error of a score, in units of |q| |k|{f' ({kind})' if kind else ''}, by how tables are made")
    print("  " + f"{'at':<10}" + "".join(f"{length:>12,}" for length in lengths))
    errors: Mapping[str, Sequence[float]] = score_errors(encoding, features, lengths)
    for way, row in errors.items():
        print(f"  {way:<10}" + "".join(f"{error:>12.1e}" for error in row))


def _promises(kind: str, encoding: "Position", heads: int, features: int) -> None:
    """What holds, proved."""
    from pushforward.positions import check_encoding

    print(f"\nWhat {f'{kind}: ' if kind else ''}the encoding promises, as this library computes it")
    proof = check_encoding(encoding, width=heads * features, heads=heads)
    print(textwrap.indent(str(proof), "  "))
