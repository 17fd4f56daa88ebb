"""The layout of a RoFormer's weights is found by reading, whatever the folder says."""

import pytest
import torch

from pushforward import Draw
from pushforward._errors import DataError
from pushforward.cli import main
from pushforward.data import WordPieces
from pushforward.data.word_pieces import MARKS
from pushforward.interop import save_roformer
from pushforward.interop.layouts import losses_by_layout
from pushforward.nets import RoFormer, RoFormerConfig
from pushforward.objectives import hidden_loss, hide_words, next_token_loss
from pushforward.positions import convert_layout, detect_layout

PIECES = WordPieces((*MARKS, *"0123456789"))
TEXT = "\n".join(" ".join(f"{number:04d}" * 6) for number in range(1234, 9999, 271))


def trained(causal: bool) -> RoFormer:
    """A model that knows that digits come again after four: positions alone tell which one it is."""
    torch.manual_seed(0)
    config = RoFormerConfig(vocabulary=15, width=32, layers=1, heads=2, hidden=32, causal=causal, std=0.1)
    model = RoFormer(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(150):
        tokens = Draw(0, "digits", step).integers(16 * 4, 10).view(16, 4).repeat(1, 6) + 5
        if causal:
            loss = next_token_loss(model.word_logits(model(tokens[:, :-1])), tokens[:, 1:]).mean()
        else:
            hidden, asked = hide_words(tokens, Draw(0, "hide", step), vocabulary=15, mask=4, hidden=1.0, replaced=0.0)
            loss = hidden_loss(model.word_logits(model(hidden)[asked]), tokens, asked).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def in_halves(model: RoFormer) -> RoFormer:
    """The same weights re-ordered for the other layout."""
    model.load_state_dict({name: _in_halves(name, value) for name, value in model.state_dict().items()})
    return model


def _in_halves(name, value):
    if ".qkv." not in name:
        return value
    q, k, v = value.chunk(3)
    return torch.cat([*(convert_layout(part, 16, "interleaved", "half") for part in (q, k)), v])


@pytest.mark.parametrize("causal", [False, True])
def test_the_lower_loss_tells_the_layout(causal):
    model = trained(causal)
    losses = losses_by_layout(model, PIECES, TEXT)
    assert detect_layout(losses.__getitem__) == "interleaved"
    halves = losses_by_layout(in_halves(model), PIECES, TEXT)
    assert detect_layout(halves.__getitem__) == "half"
    assert halves["half"] == pytest.approx(losses["interleaved"], rel=1e-4)


def test_the_audit_says_which_layout_the_weights_have(tmp_path, capsys):
    save_roformer(in_halves(trained(False)), tmp_path / "model")
    (tmp_path / "model" / "vocab.txt").write_text("\n".join(PIECES.vocabulary))
    (tmp_path / "text.txt").write_text(TEXT)
    assert main(["positions", "audit", str(tmp_path / "model"), "--text", str(tmp_path / "text.txt")]) == 0
    shown = capsys.readouterr().out
    assert "interleaved layout (feature 2c with 2c + 1)" in shown
    assert "The weights are half." in shown


def test_random_weights_do_not_tell_and_an_empty_text_is_refused():
    model = RoFormer(RoFormerConfig(vocabulary=15, width=32, layers=1, heads=2, hidden=32))
    assert detect_layout(losses_by_layout(model, PIECES, TEXT).__getitem__) is None
    with pytest.raises(DataError, match="Expected a text to read; got an empty one"):
        losses_by_layout(model, PIECES, " \n")
