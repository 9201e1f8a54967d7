"""A method's options are dataclasses: ParlAI's flags are made from their fields, and they are read back from `opt`."""

from collections.abc import Mapping
from dataclasses import Field, field, fields
from typing import Any, TypeVar

Options = TypeVar('Options')


def flag(
    default: Any,
    help: str,
    name: str = '',
    choices: tuple[str, ...] = (),
    least: int | None = None,
    most: int | None = None,
    metavar: str | None = None,
) -> Any:
    """A field with a flag, called `name` or as the field; fields without `flag` get none. `least`, `most`: the smallest
    and the largest value that make sense."""
    return field(
        default=default,
        metadata={'help': help, 'name': name, 'choices': choices, 'least': least, 'most': most, 'metavar': metavar},
    )


def add_flags(group: Any, prefix: str, *kinds: type) -> None:
    """`--<prefix>-<name>` for the fields of dataclasses, in a group of a ParlAI parser."""
    for kind in kinds:
        for one in flagged(kind):
            shown = {key: one.metadata[key] for key in ('help', 'choices', 'metavar') if one.metadata[key]}
            group.add_argument(option(prefix, one), type=parser(one), default=one.default, **shown)


def from_opt(kind: type[Options], opt: Mapping[str, Any], prefix: str, **others: Any) -> Options:
    """The dataclass as `opt` has it (that of an older checkpoint may lack some); `others` are fields without a flag."""
    values = {one.name: checked(one, prefix, opt.get(dest(prefix, one), one.default)) for one in flagged(kind)}
    return kind(**values, **others)


def flagged(kind: type) -> list[Field]:
    return [one for one in fields(kind) if 'help' in one.metadata]


def dest(prefix: str, one: Field) -> str:
    name = one.metadata['name'] or one.name
    return f'{prefix}_{name}' if prefix else name


def option(prefix: str, one: Field) -> str:
    return '--' + dest(prefix, one).replace('_', '-')


def parser(one: Field) -> Any:
    """ParlAI reads booleans by the name 'bool'."""
    if isinstance(one.default, bool):
        return 'bool'
    return str if one.default is None else type(one.default)


def checked(one: Field, prefix: str, value: Any) -> Any:
    """Options in a task string or a call of `create_agent` pass no parser."""
    least, most, choices = (one.metadata[name] for name in ('least', 'most', 'choices'))
    if least is not None and value < least:
        raise ValueError(f'{option(prefix, one)} is {value}; it has to be {least} or more')
    if most is not None and value > most:
        raise ValueError(f'{option(prefix, one)} is {value}; it has to be {most} or less')
    if choices and value not in choices:
        raise ValueError(f'{option(prefix, one)} is {value!r}; expected {" or ".join(choices)}')
    return value
