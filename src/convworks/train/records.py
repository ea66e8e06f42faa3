"""Plain values from files that others may have written, checked before anything is made of them."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from convworks.errors import InputError

T = TypeVar("T")


def record(kind: type[T], values: object, where: object) -> T:
    """A dataclass from the values of a file, where a list may be a tuple.

    InputError unless names and kinds are its own.
    """
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
    tuples = {name for name, hint in hints.items() if get_origin(hint) is tuple}
    return kind(**{name: tuple(one) if name in tuples else one for name, one in values.items()})


def _is(value: object, hint: Any) -> bool:
    """Whether JSON could mean a value of that type: a list is a tuple, a whole number a float."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_is(value, one) for one in arguments)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin in (list, tuple):
        if not isinstance(value, list | tuple):
            return False
        alike = origin is list or arguments[-1] is ...
        kinds = arguments[:1] * len(value) if alike else arguments
        return len(kinds) == len(value) and all(map(_is, value, kinds))
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(
            all(map(_is, pair, arguments)) for pair in value.items()
        )
    if hint is NoneType:
        return value is None
    if hint is float:
        return isinstance(value, float) or _is(value, int)
    if hint is int:
        return type(value) is int and abs(value) < 2**63
    if hint in (str, bool):
        return type(value) is hint
    return isinstance(value, origin or hint)
