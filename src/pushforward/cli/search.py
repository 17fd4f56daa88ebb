"""`pushforward train DATA --find lr` (or batch): a short search in place of a training. Nothing is written."""

from typing import TYPE_CHECKING, Any, Literal

from pushforward._recipe import Settings
from pushforward.cli.curves import column_of, plot
from pushforward.cli.runs import speak

if TYPE_CHECKING:
    import pushforward as pf

_WIDTH = 60


def search(
    what: Literal["lr", "batch"], model: "pf.models.Model", data: Any, objective: Any, settings: Settings
) -> None:
    """Find it, and say what was found, why, and the flag that uses it."""
    from pushforward.training import find_batch, find_lr

    if what == "lr":
        rates = find_lr(model, data, objective, settings)
        speak(*_drawn(rates), rates.reason, f"Use it: --lr {rates.suggestion:g}")
        return
    sizes = find_batch(model, data, objective, settings)
    speak("  batch  seconds/step  samples/s")
    for size, seconds, each in zip(sizes.sizes, sizes.seconds, sizes.throughput):
        speak(f"{size:7,}  {seconds:12.4g}  {each:9,.0f}{'  <-' if size == sizes.suggestion else ''}")
    speak(sizes.reason, f"Use it: --batch {sizes.suggestion}")


def _drawn(found: "pf.training.RateSearch") -> list[str]:
    """The loss over the rates, with a mark under the one suggested."""
    count = len(found.rates)
    near = min(range(count), key=lambda each: abs(found.rates[each] - found.suggestion))
    picture = plot(found.losses, _WIDTH)
    margin = picture[0].index(label := picture[0].split()[0]) + len(label) + 1
    mark = " " * (margin + column_of(near, count, _WIDTH)) + f"^ {found.suggestion:g}"
    ends = f"{found.rates[0]:.1e}", f"{found.rates[-1]:.1e}"
    axis = " " * margin + ends[0] + ends[1].rjust(min(count, _WIDTH) - len(ends[0]))
    return [f"loss at {count} learning rates", *picture, mark, axis]
