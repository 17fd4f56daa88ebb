"""From words to options, from errors to one sentence and a status; help that teaches and does not wait for torch."""

import contextlib
import dataclasses
import os
import re
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from pushforward._errors import ConfigError, RunError
from pushforward.cli import info, main
from pushforward.cli.repeats import gathered
from pushforward.cli.shell import GROUPS, VERBS, options_class, parse

SOURCE = Path(__file__).parents[2] / "src"


def python(code: str, *arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that runs `code`."""
    environment = os.environ | {"PYTHONPATH": str(SOURCE), **variables}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=environment)


def help_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What --help prints."""
    with pytest.raises(SystemExit) as end:
        parse([*words, "--help"])
    assert not end.value.code
    return capsys.readouterr().out


# Help


def test_the_first_page_names_every_verb_and_how_to_complete(capsys: pytest.CaptureFixture[str]) -> None:
    page = help_of(capsys)
    assert all(re.search(rf"\W {verb.split()[0]} +[A-Z]", page) for verb in VERBS)
    assert "--tyro-print-completion bash" in page
    assert "--tyro-print-completion zsh" in page
    assert "pushforward demo" in page


@pytest.mark.parametrize("group", GROUPS)
def test_a_groups_page_names_its_verbs(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = help_of(capsys, group)
    inside = [verb.split()[1] for verb in VERBS if verb.startswith(f"{group} ")]
    assert inside
    assert all(re.search(rf"\W {verb} +[A-Z]", page) for verb in inside)
    with pytest.raises(SystemExit) as end:
        parse([group])
    assert not end.value.code
    assert capsys.readouterr().out == page


@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_page_shows_examples_that_parse(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = help_of(capsys, *verb.split())
    examples = re.findall(rf"^  pushforward ({verb}\b.*)$", page, re.MULTILINE)
    assert examples
    for example in examples:
        words = re.split(r"\s{2,}", example)[0].split()
        if "--config" not in words:
            assert type(parse(words)) is options_class(verb)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_explained(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.split(r"\n\W+?(?=--?\w)", help_of(capsys, *verb.split()))[1:]
    assert len(blocks) >= 6
    for block in blocks:
        explained = re.sub(r"\(default:.*", "", re.sub(r"[\W─]*\n\W*", " ", block), flags=re.DOTALL)
        words = [word for word in explained.split() if re.match(r"[a-z'(]+[a-z'.;,:)]*$|[A-Z]?[a-z]+,?$", word)]
        assert len(words) >= 2, block


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_can_be_debugged_seeded_and_placed(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = help_of(capsys, *verb.split())
    placed = () if verb == "watch" else ("--seed", "--device", "--threads")  # it reads files and computes nothing
    assert all(flag in page for flag in ("--pdb", "--debug", "--config", *placed))


@pytest.mark.parametrize("verb", VERBS)
def test_options_are_frozen_values(verb: str) -> None:
    cls = options_class(verb)
    assert cls.__dataclass_params__.frozen
    assert "__slots__" in vars(cls)
    hints = typing.get_type_hints(cls)
    assert [field.name for field in dataclasses.fields(cls)] == list(hints)


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["train", "--help"],
        ["positions", "compare", "--help"],
        ["train", "x", "--stpes", "3"],
        ["--tyro-print-completion", "bash"],
        ["trian"],
    ],
)
def test_torch_is_not_imported_to_help(words: list[str]) -> None:
    code = """
import contextlib, sys
from pushforward.cli import main
with contextlib.suppress(SystemExit):
    main(sys.argv[1:])
print("torch" in sys.modules, "matplotlib" in sys.modules, file=sys.stderr)
"""
    done = python(code, *words)
    assert done.stderr.splitlines()[-1] == "False False"
    assert done.returncode == 0


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_the_completion_script_is_bash_and_knows_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--tyro-print-completion", "bash"])
    script = capsys.readouterr().out
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert all(
        word in script for word in [*(word for verb in VERBS for word in verb.split()), "--solver", "--mlp.hidden"]
    )


# Mistakes

MISTAKES = {
    "a verb": (["trian"], "Did you mean 'train'?"),
    "a verb far from any": (["xyz"], "Choose from 'compare'"),
    "a verb of two words": (["positions", "comprae"], "Did you mean 'compare'? See pushforward positions --help."),
    "an option of it": (["positions", "compare", "--stpes", "3"], "Did you mean --steps? See pushforward positions"),
    "an option": (["train", "a", "--stpes", "3"], "unrecognized options: --stpes, 3. Did you mean --steps?"),
    "two options": (["train", "a", "--mlp.hiden", "3", "--stps", "2"], "Did you mean --mlp.hidden and --steps?"),
    "an option before the verb": (["--stpes", "train"], "See pushforward --help"),
    "a value": (["train", "a", "--steps", "many"], "error parsing --steps"),
    "a choice": (["train", "a", "--model", "mpl"], "invalid choice 'mpl' for argument '--model'"),
    "no data": (["train"], "missing from pushforward train: DATA"),
    "no run": (["sample"], "See pushforward sample --help."),
    "no value": (["sample", "x", "--steps"], "missing value for argument '--steps'"),
    "one word too many": (["sample", "x", "y"], "unrecognized options: y."),
    "no config file": (["train", "a", "--config", "no.toml"], "got 'no.toml'"),
    "an impossible setting": (["train", "a", "--lr", "-1"], "error: Expected lr to be a positive number"),
    "another family's options": (
        ["train", "digits", "--model", "mlp", "--nice.hidden", "8"],
        "Expected options of the model 'mlp'; got options --nice.*",
    ),
    "a path for a flow": (["train", "digits", "--model", "nice", "--path", "vp"], "no path and no prediction"),
    "no threads": (["info", "--threads", "0"], "Expected --threads of 1 or more"),
    "a device that is none": (["info", "--device", "gpu"], "Expected a device of this machine"),
    "a run that does not exist": (["sample", "no/run"], "'no/run', which does not exist"),
    "no samples": (["sample", "no/run", "-n", "0"], "Expected -n and --batch of 1 or more"),
    "data that do not exist": (["train", "no.csv"], "'no.csv', which does not exist"),
    "data with a typing error": (["train", "digts"], "Did you mean 'digits'?"),
    "no pairs": (["report", "x", "--calls", "0"], "Expected --calls of 1 or more"),
    "two values for one": (["sample", "x", "--steps", "3", "--steps=4"], "Expected --steps once; got --steps and --st"),
    "two spellings": (["sample", "x", "-n3", "--n", "4"], "Expected --n once; got -n3 and --n. Keep the one you mean."),
    "two files": (["sample", "--config", "a", "--config", "b"], "Expected --config once"),
    "a pair twice": (["train", "x", "--nice.support", "0", "1", "--nice.support", "0", "2"], "--nice.support once"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_sentence(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    words, message = MISTAKES[case]
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("pushforward: error: ")
    assert shown.count("\n") == 1
    assert message in shown
    assert "─" not in shown


@pytest.mark.parametrize("verb", VERBS)
def test_every_flag_that_help_shows_is_either_added_up_or_refused_twice(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = set(re.findall(r"^\W*?((?<![\w-])--?[a-z][\w.-]*)", help_of(capsys, *verb.split()), re.MULTILINE))
    assert len(shown - {"--help", "-h"}) >= 5
    for flag in shown - {"--help", "-h"}:
        with contextlib.suppress(ConfigError):
            assert gathered([*verb.split(), flag, "a", flag, "b"], options_class(verb)) == [
                *verb.split(),
                flag,
                "a",
                "b",
            ]


def test_the_values_of_a_flag_that_takes_several_add_up() -> None:
    words = ["--given", "a=-1", "--seed", "2", "--given=b=2", "c=3", "--given", "d=4", "runs/x"]
    options = parse(["sample", *words])
    assert options.given == ("a=-1", "b=2", "c=3", "d=4")
    assert (str(options.run), options.machine.seed) == ("runs/x", 2)
    assert parse(["train", "x", "--kinds", "a=real", "--kinds", "b=integer"]).reading.kinds == ("a=real", "b=integer")
    assert parse(["train", "x", "--rates", "a", "1", "--rates", "b", "2"]).settings.rates == (("a", 1.0), ("b", 2.0))
    assert parse(["positions", "compare", "x", "--test_lengths", "3", "--test-lengths", "4"]).test_lengths == (3, 4)


def test_nothing_at_all_shows_the_first_page(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "pushforward train digits" in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_what_the_terminal_can_show_makes_no_difference(encoding: str) -> None:
    code = "import sys; from pushforward.cli import main; sys.exit(main(sys.argv[1:]))"
    done = python(code, "train", "a", "--stpes", "3", PYTHONIOENCODING=encoding)
    line = "unrecognized options: --stpes, 3. Did you mean --steps? See pushforward train --help."
    assert done.stderr == f"pushforward: error: {line}\n"
    assert "reflow" in python(code, "--help", PYTHONIOENCODING=encoding).stdout


# Configuration files


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('run = "there"\nn = 3\n[solve]\nsteps = 7\nsolver = "rk4"\n')
    options = parse(["sample", "--config", str(file), "--steps", "9"])
    assert (str(options.run), options.n, options.batch) == ("there", 3, 1024)
    assert (options.solve.solver, options.solve.steps) == ("rk4", 9)
    assert str(parse(["sample", "here", f"--config={file}"]).run) == "here"


def test_what_neither_gives_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("n = 3\n")
    with pytest.raises(ConfigError, match="missing from pushforward sample: RUN"):
        parse(["sample", "--config", str(tmp_path / "a.toml")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nn = 3", "'nn'. Did you mean 'n'?"),
        ("[solve]\nstpes = 3", "'solve'; got 'stpes'. Did you mean 'steps'?"),
        ("n = 'three'", "'n' to be int"),
        ("n = 1\nm = = 2\nk = 3\n", "line 2"),
        ("format_version = 1", "Name the run itself: pushforward sample RUN."),
    ],
)
def test_a_wrong_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        parse(["sample", "x", "--config", str(tmp_path / "wrong.toml")])
    assert message in str(caught.value)
    assert "wrong.toml" in str(caught.value)


# What a verb may raise


class Interrupted(Exception):  # noqa: N818
    """Named as the loop's own."""


RAISED = {
    "ours": (RunError("Expected a;\n got b. Do c."), 2, "pushforward: error: Expected a; got b. Do c.\n"),
    "interrupted": (Interrupted("stopped at 3"), 75, "pushforward: stopped at 3\n"),
    "the machine's": (OSError(28, "No space left on device"), 1, "pushforward: error: [Errno 28] No space left"),
    "memory": (RuntimeError("DefaultCPUAllocator: can't allocate"), 1, "pushforward: error: out of memory."),
    "a fault": (KeyError("x"), 1, "pushforward: error: KeyError: 'x'. Run it again with --debug"),
    "the keyboard": (KeyboardInterrupt(), 130, "pushforward: error: interrupted\n"),
}


@pytest.mark.parametrize("case", RAISED)
def test_an_error_has_a_status_and_a_line(
    case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error, status, shown = RAISED[case]

    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(info, "run", fail)
    assert main(["info"]) == status
    assert capsys.readouterr().err.startswith(shown)
    assert main(["info", "--debug"]) == status
    assert ("Traceback" in capsys.readouterr().err) == isinstance(error, Exception)


def test_warnings_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import warnings

    def warn(_: object) -> None:
        warnings.simplefilter("always")
        warnings.warn("the run is not done", stacklevel=1)

    monkeypatch.setattr(info, "run", warn)
    assert main(["info"]) == 0
    assert capsys.readouterr().err == "pushforward: warning: the run is not done\n"


def test_pdb_opens_where_it_failed() -> None:
    code = "import sys; from pushforward.cli import main; sys.exit(main(sys.argv[1:]))"
    done = python(code, "sample", "no/run", "--pdb", stdin="p run.name\nw\nq\n")
    assert "(Pdb) 'run'" in done.stdout
    assert "read_units" in done.stdout
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("pushforward: error: Expected a run made by")
