"""The option system of methods, tasks and scripts: a dataclass declares options, `add_flags` makes ParlAI's flags of
its fields, and `from_opt` reads and checks them.

A field may be a bool, int, float, str or Path, each also with `| None`, or a tuple of one of these, which is written
with commas on the command line. In `opt` paths and tuples are strings; an empty path counts as not given.
"""

from collections.abc import Mapping
from dataclasses import Field, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args

from parlai_persona.errors import UserError
from parlai_persona.files import typed_path

Options = TypeVar('Options')
EXPECTED: dict[type, str] = {bool: 'true or false', int: 'a whole number', float: 'a number'}


def flag(
    default: Any,
    help: str,
    name: str = '',
    choices: tuple = (),
    least: int | None = None,
    most: int | None = None,
    metavar: str | None = None,
) -> Any:
    """Declare a field with a flag, which is called `name` or else like the field.

    `least` and `most` are the smallest and the largest value allowed. Fields without `flag` get no flag.
    """
    return field(
        default=default,
        metadata={'help': help, 'name': name, 'choices': choices, 'least': least, 'most': most, 'metavar': metavar},
    )


def add_flags(group: Any, prefix: str, *kinds: type) -> None:
    """Add `--<prefix>-<name>` to a group of a ParlAI parser for each flagged field of the dataclasses."""
    for kind in kinds:
        for one in flagged(kind):
            default: Any = one.default
            shown = {key: one.metadata[key] for key in ('help', 'choices', 'metavar') if one.metadata[key]}
            if isinstance(default, tuple):
                default = ','.join(map(str, default))
                shown.pop('choices', None)  # argparse would compare them with the whole string
            group.add_argument(option(prefix, one), type=parser_type(one), default=default, **shown)


def from_opt(kind: type[Options], opt: Mapping[str, Any], prefix: str, **others: Any) -> Options:
    """Return the dataclass with the checked values of `opt`.

    They are checked here because options in a task string (`-t task:option=value`) or in a call of `create_agent`
    pass no parser.
    Options that `opt` lacks, as `opt` of an older checkpoint may, have their defaults. `others` are fields without a
    flag.
    """
    values = {one.name: field_value(one, prefix, opt) for one in flagged(kind)}
    return kind(**values, **others)


def flagged(kind: type) -> list[Field]:
    return [one for one in fields(kind) if 'help' in one.metadata]


def dest(prefix: str, one: Field) -> str:
    name = one.metadata['name'] or one.name
    return f'{prefix}_{name}' if prefix else name


def option(prefix: str, one: Field) -> str:
    return '--' + dest(prefix, one).replace('_', '-')


def value_type(one: Field) -> type:
    """Return the type of a field's value, or of its items if it is a tuple, from the annotation without `| None`."""
    if one.default is not None and not isinstance(one.default, tuple):
        return type(one.default)
    named = get_args(one.type) or (one.type,)
    return named[0] if isinstance(named[0], type) else str


def parser_type(one: Field) -> Any:
    """Return what argparse reads the flag with; ParlAI reads booleans by the name 'bool'."""
    if isinstance(one.default, tuple) or value_type(one) is Path:
        return str
    return 'bool' if value_type(one) is bool else value_type(one)


def field_value(one: Field, prefix: str, opt: Mapping[str, Any]) -> Any:
    value = opt.get(dest(prefix, one))
    if value is None or (value == '' and value_type(one) is Path):
        return one.default
    if isinstance(one.default, tuple):
        return tuple(checked(one, prefix, item) for item in str(value).replace(' ', '').split(','))
    return checked(one, prefix, value)


def checked(one: Field, prefix: str, value: Any) -> Any:
    """Return the value in the type of the field; raise an error if it is not one of those allowed."""
    kind, name = value_type(one), option(prefix, one)
    try:
        value = converted(kind, value)
    except UserError as error:
        raise UserError(f'{name} {error}') from None
    except (TypeError, ValueError, OverflowError):
        raise UserError(f'{name} is {value!r}; expected {EXPECTED.get(kind, kind.__name__)}') from None
    least, most, choices = (one.metadata[key] for key in ('least', 'most', 'choices'))
    if least is not None and value < least:
        raise UserError(f'{name} is {value}; it has to be {least} or more')
    if most is not None and value > most:
        raise UserError(f'{name} is {value}; it has to be {most} or less')
    if choices and value not in choices:
        raise UserError(f'{name} is {value!r}; expected {" or ".join(map(str, choices))}')
    return value


def converted(kind: type, value: Any) -> Any:
    if kind is bool and value not in (0, 1):
        raise ValueError
    if kind is int and isinstance(value, float) and not value.is_integer():
        raise ValueError
    return typed_path(str(value)) if kind is Path else kind(value)
