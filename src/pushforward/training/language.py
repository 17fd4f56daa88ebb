"""Small language models alike but for their encoding: made from a seed, trained on a stream of batches.

    weights   those that all models have are a function of the seed alone, whatever the encoding draws for itself
    batches   a function of the seed and the step alone

so that two models of a seed differ in what their encodings do and in nothing else. There is no run folder: such a
training takes seconds to minutes and is done again if it was stopped.
"""

from collections.abc import Callable, Iterator

import torch

from pushforward._random import Draw
from pushforward._recipe import Settings
from pushforward.data.batch import Batch
from pushforward.nets.language import LanguageModel
from pushforward.objectives.next_token import next_token
from pushforward.training.distributed import World
from pushforward.training.encodings import Sizes, encoding
from pushforward.training.engine import Engine, borrowed_randomness
from pushforward.training.guard import NotFinite


def language_model(name: str, sizes: Sizes, vocabulary: int, layers: int, seed: int) -> LanguageModel:
    """A fresh model with the encoding of this name.

    Raises:
        ConfigError: no encoding has that name, or sizes do not fit each other.
    """
    made = encoding(name)
    with borrowed_randomness(torch.device("cpu")):
        torch.manual_seed(Draw(seed, "encoding").key())
        position = made.make(sizes)
        torch.manual_seed(Draw(seed, "weights").key())
        return LanguageModel(vocabulary, position, sizes.width, layers, sizes.heads)


def train_language(
    net: LanguageModel,
    batches: Iterator[Batch],
    settings: Settings,
    device: torch.device,
    tell: Callable[[int, float], None] | None = None,
) -> float:
    """Train a language model in place, on this process.

    Args:
        net: the model; it is moved to the device.
        batches: tokens and, as context, what comes after each; without end.
        settings: steps, batch, learning rate and so on.
        device: where to train.
        tell: is called with the step and its loss in nats after every step that `settings.log_every` names.

    Returns:
        The mean loss of the last tenth of the steps, in nats per token.

    Raises:
        TrainingError: a loss or gradient that is not finite.
    """
    with borrowed_randomness(device):
        engine = Engine(net, next_token, settings, World(device))
        losses = list[torch.Tensor]()
        for step, batch in zip(range(settings.steps), batches):
            batch = batch if device.type == "cpu" else batch.to(str(device))
            try:
                loss, _, _ = engine.advance(step, batch)
                if (step + 1) % settings.log_every == 0 or step + 1 == settings.steps:
                    engine.settled()
            except NotFinite as error:
                raise engine.explain(error, batch) from None
            losses.append(loss)
            if tell is not None and (step + 1) % settings.log_every == 0:
                tell(step + 1, loss.item())
        engine.finish()
    last = losses[-max(1, len(losses) // 10) :]
    return float(torch.stack(last).mean()) if last else float("nan")
