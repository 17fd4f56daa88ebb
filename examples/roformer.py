"""A language model that fills in blanks: trained here, packed, saved for `transformers`, and read again.

Texts are progressions a, a + d, a + 2d, ... modulo 11 with d = 1, 2 or 3, so that a hidden number follows from the
others and from where it stands. Several texts share a row, each with its own positions, as if each were alone.
"""

import tempfile

import torch

import pushforward as pf
from pushforward.objectives import hidden_loss, hide_words

torch.manual_seed(0)
MASK, LENGTH = 11, 12
config = pf.nets.RoFormerConfig(vocabulary=12, width=64, layers=2, heads=4, hidden=128)
model = pf.nets.RoFormer(config)


def texts(n: int, draw: pf.Draw) -> torch.Tensor:
    """Progressions, [n, LENGTH]."""
    start, step = draw.of("start").integers(n, 11), draw.of("step").integers(n, 3) + 1
    return (start[:, None] + step[:, None] * torch.arange(LENGTH)) % 11


optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for step in range(300):
    draw = pf.Draw(seed=0, purpose="train", step=step)
    tokens = texts(64, draw)
    hidden, asked = hide_words(tokens, draw, vocabulary=12, mask=MASK, share=0.3)
    loss = hidden_loss(model.word_logits(model(hidden)[asked]), tokens, asked).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

draw = pf.Draw(seed=0, purpose="test")
tokens = texts(256, draw)
hidden, asked = hide_words(tokens, draw, vocabulary=12, mask=MASK, share=0.3, hidden=1.0, replaced=0.0)
with torch.no_grad():
    h = model.eval()(hidden)
    right = (model.word_logits(h[asked]).argmax(-1) == tokens[asked]).float().mean()
    print(f"loss {loss.item():.3f}; {right:.1%} of the hidden numbers found, 9.1% by chance")
    assert right > 0.9

    pos, mask = pf.positions.packed([LENGTH, LENGTH, LENGTH])
    row = model(hidden[:3].reshape(1, -1), pos, mask=mask)
    print(f"three texts in one row differ from alone by {(row.reshape(3, LENGTH, -1) - h[:3]).abs().max():.0e}")
    assert torch.allclose(row.reshape(3, LENGTH, -1), h[:3], atol=1e-4)

    with tempfile.TemporaryDirectory() as folder:
        again = pf.interop.load_roformer(pf.interop.save_roformer(model, folder))
    print(f"read again it says the same: {torch.equal(again(hidden), h)}")
    assert torch.equal(again(hidden), h)
