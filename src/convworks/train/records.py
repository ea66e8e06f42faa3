"""Plain values from files that others may have written, checked before anything is made of them."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from convworks.errors import InputError

T = TypeVar("T")


def record(kind: type[T], values: object, where: object) -> T:
    """A dataclass from the values of a file; InputError unless names and kinds are its own."""
    if not isinstance(values, Mapping):
        raise InputError(f"Cannot use {where}: {values!r:.40} is no set of named values.")
    hints, own = get_type_hints(kind), {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(map(str, values.keys() - own.keys())):
        raise InputError(f"Cannot use {where}: nobody knows {unknown[0]!r:.40} in it.")
    for name, field in own.items():
        if name not in values:
            if field.default is MISSING and field.default_factory is MISSING:
                raise InputError(f"Cannot use {where}: it has no {name}.")
        elif not _is(values[name], hints[name]):
            raise InputError(f"Cannot use {where}: {name} cannot be {values[name]!r:.40}.")
    return kind(**values)


def _is(value: object, hint: Any) -> bool:
    """Whether JSON could mean a value of that type: a list is a tuple, a whole number a float."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_is(value, one) for one in arguments)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is tuple:
        return isinstance(value, list | tuple) and all(_is(one, arguments[0]) for one in value)
    if hint is NoneType:
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return type(value) is int and abs(value) < 2**63
    if hint in (str, bool):
        return type(value) is hint
    return isinstance(value, origin or hint)
