"""The program of the READMEs runs, and both READMEs show the same code."""

import re
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
READMES = [ROOT / "README.md", ROOT / "README.zh.md"]
SMALLER = {
    "steps=2_000": "steps=2, batch=16, device='cpu', progress=False",
    "classes=data.classes)": "classes=data.classes, width=16, layers=1)",
    '"digits.html")': '"digits.html", n=64, calls=(2,))',
}


def blocks(path: Path) -> list[str]:
    return re.findall(r"^```\w*\n.*?^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def program(path: Path) -> str:
    (found,) = [block for block in blocks(path) if block.startswith("```python")]
    return "\n".join(found.splitlines()[1:-1])


def test_both_readmes_show_the_same_code():
    english, chinese = (blocks(path) for path in READMES)
    assert len(english) >= 4
    assert english == chinese


def test_the_program_runs(tmp_path, monkeypatch):
    text = program(READMES[0])
    for large, small in SMALLER.items():
        assert text.count(large) == 1
        text = text.replace(large, small)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict[str, object] = {}
    exec(compile(text, "README.md", "exec"), names)
    samples = names["x"]
    assert isinstance(samples, torch.Tensor)
    assert samples.shape == (64, 1, 8, 8)
    assert samples.isfinite().all()
    assert "</html>" in (tmp_path / "digits.html").read_text(encoding="utf-8")


def test_the_verbs_of_the_readmes_exist():
    shell = "\n".join(block for block in blocks(READMES[0]) if block.startswith("```sh"))
    verbs = set(re.findall(r"^pushforward (\w+)", shell, re.MULTILINE))
    assert verbs == {
        "train", "sample", "evaluate", "tune", "reflow", "distill", "report", "compare", "ema", "watch",
    }  # fmt: skip
    for verb in verbs:
        assert (ROOT / "src" / "pushforward" / "cli" / f"{verb}.py").is_file()


def test_links_to_examples_exist():
    for path in READMES:
        linked = set(re.findall(r"\]\((examples/\w+\.py)\)", path.read_text(encoding="utf-8")))
        assert linked == {f"examples/{each.name}" for each in (ROOT / "examples").glob("*.py")}
