"""Settings as values: frozen dataclasses to TOML and back, nothing else in between.

    dataclass  --to_table-->  dict of TOML values  --dumps-->  text
    text  --loads-->  dict  --from_table-->  dataclass

A table is read field by field against the annotations: `bool int float str Path`, `Literal`, `X | None`,
`tuple`, and dataclasses within dataclasses. What is None is left out, since TOML has no word for it.

Where one of several classes may stand, the table says which by `kind = "mlp"`. The word is looked up in a
closed table {kind: class} that the caller hands in; a configuration file can name nothing else, so reading
one from a stranger runs none of their code. A key nobody asked for is an error with the nearest name.
"""

import dataclasses
import difflib
import errno
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pushforward._durable import write_text
from pushforward._errors import ConfigError, explain

Kinds = Mapping[str, type]
"""The closed table: which word in a file stands for which dataclass."""

Table = dict[str, Any]
"""What TOML can hold."""

T = TypeVar("T")

LARGEST: Final = 2**22
"""Bytes of a configuration that is still read."""

KIND: Final = "kind"
BEFORE: Final = "before"
"""In a field's metadata: its value in whole tables that were written before there was such a field."""
_REQUIRED: Final = object()
_LIST: Final = re.compile(r"\[\n((?:    [^\[\]\n]+,\n)+)\]")
_NO_KINDS: Final[Kinds] = types.MappingProxyType({})


def to_table(config: object, kinds: Kinds = _NO_KINDS) -> Table:
    """A dataclass as TOML values: tuples become lists, paths strings, None is left out.

    Args:
        config: an instance of a dataclass.
        kinds: the classes to be marked with their kind.

    Raises:
        ConfigError: a field is None although its default is not: TOML could not say so.
    """
    assert dataclasses.is_dataclass(config), f"{config!r} is not a dataclass"
    names = {cls: kind for kind, cls in kinds.items()}
    table: Table = {KIND: names[type(config)]} if type(config) in names else {}
    for field in dataclasses.fields(config):
        assert field.name != KIND, f"{type(config).__name__}.kind: the word is taken"
        value = getattr(config, field.name)
        if value is not None:
            table[field.name] = _to_value(value, kinds)
        elif _default(field) is not None:
            problem = f"{field.name} = None, which TOML cannot say while its default is another value"
            raise ConfigError(explain("a setting that can be written down", problem, "Choose a value for it."))
    return table


def from_table(
    cls: type[T] | None,
    table: Mapping[str, Any],
    kinds: Kinds = _NO_KINDS,
    where: str = "",
    missing: object = _REQUIRED,
) -> T:
    """A dataclass from TOML values.

    Args:
        cls: the class to build; None if the table's own `kind` must say.
        table: the values. Fields that are absent keep their defaults, or have what `BEFORE` says if it is whole.
        kinds: the closed table of classes a `kind` may name.
        where: the table's name, for messages.
        missing: what to put where a field without a default is absent, in tables written by hand and in part; by
            default a table is whole, and refused if it is not.

    Raises:
        ConfigError: a key that does not exist, a value of another type, a kind that is not known.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Size:
    ...     width: int = 64
    >>> from_table(Size, loads("width = 8"))
    Size(width=8)
    """
    if KIND in table or not dataclasses.is_dataclass(cls):
        found = _look_up(table.get(KIND), kinds, where)
        if cls is not None and not _is_a(found, cls):
            expected = f"{_place(where)} to be one of {_listed(_kinds_of((cls,), kinds))}"
            raise ConfigError(explain(expected, f"kind = {_shown(table[KIND])}", "Change the kind."))
        cls = typing.cast("type[T]", found)
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, cls)) if field.init}
    values: dict[str, object] = {}
    for key, value in table.items():
        if key == KIND:
            continue
        if key not in fields:
            raise ConfigError(_unknown(key, fields, where))
        values[key] = _from_value(hints[key], value, kinds, _join(where, key), missing)
    for name, field in fields.items():
        if name in values:
            continue
        if missing is _REQUIRED and BEFORE in field.metadata:
            values[name] = field.metadata[BEFORE]
        elif _default(field) is dataclasses.MISSING:
            if missing is _REQUIRED:
                raise ConfigError(explain(f"a value for {_join(where, name)!r}", "none", "Add it to the file."))
            values[name] = missing
    return cls(**values)


def dumps(config: object, kinds: Kinds = _NO_KINDS) -> str:
    """A dataclass as the text of a TOML file."""
    import tomli_w

    return _LIST.sub(_on_one_line, tomli_w.dumps(to_table(config, kinds)))


def loads(text: str, name: str = "the configuration") -> Table:
    """The tables of a TOML text.

    Raises:
        ConfigError: it is not TOML; the message has the line and the column.
    """
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(explain("TOML", f"{name}: {error}", "Correct that line.")) from error


def read(path: Path) -> Table:
    """The tables of a TOML file.

    Raises:
        ConfigError: there is no such file, or it is not TOML.
    """
    try:
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "it is no file")
        if path.is_file() and path.stat().st_size > LARGEST:
            raise OSError(errno.EFBIG, f"it has more than {LARGEST:,} bytes")
        return loads(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigError(explain("a TOML file", f"{str(path)!r}: {error.strerror}", "Check the path.")) from error
    except UnicodeDecodeError as error:
        raise ConfigError(explain("a TOML file in UTF-8", f"{str(path)!r}: {error}", "Save it as UTF-8.")) from error


def write(config: object, path: Path, kinds: Kinds = _NO_KINDS) -> None:
    """Write a dataclass as a TOML file, whole or not at all."""
    write_text(path, dumps(config, kinds))


def suggest(word: str, known: Iterable[str]) -> str:
    """A sentence that points to the nearest known word, or lists them all.

    >>> suggest("stpes", ["steps", "seed"])
    "Did you mean 'steps'?"
    """
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Choose from {_listed(known)}."


def _on_one_line(found: re.Match[str]) -> str:
    """A list of plain values as one would write it by hand, unless it is long."""
    short = "[" + ", ".join(line.strip().removesuffix(",") for line in found[1].splitlines()) + "]"
    return short if len(short) <= 90 else found[0]


def _to_value(value: object, kinds: Kinds) -> Any:
    if dataclasses.is_dataclass(value):
        return to_table(value, kinds)
    if isinstance(value, tuple | list):
        return [_to_value(each, kinds) for each in typing.cast("tuple[object, ...]", value)]
    if isinstance(value, Path):
        return str(value)
    assert isinstance(value, bool | int | float | str), f"{value!r} has no place in TOML"
    return value


def _from_value(hint: Any, value: Any, kinds: Kinds, where: str, missing: object) -> object:
    choices = _members(hint)
    classes = [each for each in choices if isinstance(each, type) and _is_config(each, kinds)]
    if isinstance(value, dict) and (KIND in value or len(classes) > 1):
        _look_up(value.get(KIND), _kinds_of(classes, kinds), where)
    for choice in choices:
        fitted = _fit(choice, value, kinds, where, missing)
        if fitted is not _REQUIRED:
            return fitted
    words = [word for choice in choices for word in (typing.get_args(choice) if _is_literal(choice) else ())]
    fix = suggest(value, map(str, words)) if words and isinstance(value, str) else "Change the value."
    raise ConfigError(explain(f"{_place(where)} to be {_spelled(hint)}", _shown(value), fix))


def _fit(choice: Any, value: Any, kinds: Kinds, where: str, missing: object) -> object:
    """The value as `choice` would have it, or _REQUIRED where it does not fit."""
    if _is_literal(choice):
        return value if value in typing.get_args(choice) else _REQUIRED
    if typing.get_origin(choice) is tuple:
        return _fit_tuple(choice, value, kinds, where, missing)
    if not isinstance(choice, type):
        return _REQUIRED
    if isinstance(value, dict):
        fits = _is_config(choice, kinds) and (KIND not in value or _is_a(kinds[value[KIND]], choice))
        return from_table(choice, value, kinds, where, missing) if fits else _REQUIRED
    if choice is Path and isinstance(value, str):
        return Path(value)
    if choice is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    exact = isinstance(value, choice) and (choice is bool or not isinstance(value, bool))
    return value if exact else _REQUIRED


def _fit_tuple(choice: Any, value: Any, kinds: Kinds, where: str, missing: object) -> object:
    if not isinstance(value, list):
        return _REQUIRED
    items = typing.cast("list[object]", value)
    each = typing.get_args(choice)
    hints = each[:1] * len(items) if each[-1:] == (Ellipsis,) else each
    if len(hints) != len(items):
        return _REQUIRED
    return tuple(_from_value(h, v, kinds, f"{where}[{i}]", missing) for i, (h, v) in enumerate(zip(hints, items)))


def _members(hint: Any) -> tuple[Any, ...]:
    """The alternatives of an annotation, `Annotated` taken off."""
    if typing.get_origin(hint) is typing.Annotated:
        return _members(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(member for each in typing.get_args(hint) for member in _members(each))
    return (hint,)


def _look_up(kind: object, kinds: Kinds, where: str) -> type:
    if isinstance(kind, str) and kind in kinds:
        return kinds[kind]
    got = "none" if kind is None else _shown(kind)
    raise ConfigError(explain(f"a kind for {_place(where)}", got, suggest(str(kind), kinds)))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) < 200 else f"{text[:200]}..."


def _is_a(cls: type, parent: Any) -> bool:
    return parent in cls.__mro__


def _is_config(cls: type, kinds: Kinds) -> bool:
    """Whether a table may stand for it: a dataclass, or what some kind derives from."""
    return dataclasses.is_dataclass(cls) or bool(_kinds_of((cls,), kinds))


def _kinds_of(classes: Iterable[type], kinds: Kinds) -> Kinds:
    return {kind: cls for kind, cls in kinds.items() if any(_is_a(cls, each) for each in classes)}


def _unknown(key: str, fields: Iterable[str], where: str) -> str:
    return explain(f"a setting of {_place(where)}", repr(key), suggest(key, fields))


def _default(field: "dataclasses.Field[Any]") -> object:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


def _is_literal(hint: Any) -> bool:
    return typing.get_origin(hint) is Literal


def _spelled(hint: Any) -> str:
    def name(each: Any) -> str:
        if _is_literal(each):
            return " or ".join(map(repr, typing.get_args(each)))
        return each.__name__ if isinstance(each, type) and not typing.get_args(each) else str(each)

    return " or ".join(name(each) for each in _members(hint) if each is not type(None))


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _place(where: str) -> str:
    return repr(where) if where else "the configuration"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(map(repr, words)) or "nothing"
