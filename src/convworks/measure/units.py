"""Bytes as people read and write them, and what costs are called."""

import re
from typing import Literal

from convworks.errors import UsageError

UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
UNITS |= {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


Cost = Literal["macs", "parameters", "kept_bytes", "training_memory", "latency_ms"]
COSTS: dict[Cost, str] = {
    "macs": "multiply-adds for an image",
    "parameters": "parameters",
    "kept_bytes": "bytes kept for backward, an image",
    "training_memory": "bytes of memory in training",
    "latency_ms": "milliseconds for one image",
}


def show_bytes(count: int) -> str:
    """`1.50 MiB`."""
    for unit in ("GiB", "MiB"):
        if count >= UNITS[unit]:
            return f"{count / UNITS[unit]:,.2f} {unit}"
    return f"{count / UNITS['KiB']:,.1f} KiB"


def parse_bytes(text: str) -> int:
    """The inverse, from texts such as `8GiB` or `512 MB`; UsageError for any other."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", text)
    units = {unit.lower(): size for unit, size in UNITS.items()}
    if not found or found[2].lower() not in units:
        raise UsageError(
            f"A size such as 8GiB is a number and one of {', '.join(UNITS)}: {text!r}."
        )
    return int(float(found[1]) * units[found[2].lower()])
