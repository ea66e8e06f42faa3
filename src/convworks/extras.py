"""Packages that only some commands need, and that come with an extra."""

from importlib import import_module
from types import ModuleType

from convworks.errors import InputError


def need(name: str, extra: str = "export") -> ModuleType:
    """A package of an extra; InputError says how to get it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(
            f"This needs {name}, which is not installed: install convworks with its [{extra}]"
            f" extra, as by pip install '.[{extra}]' in its checkout."
        ) from error
