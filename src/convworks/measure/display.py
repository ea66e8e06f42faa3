"""Results as tables, in a notebook or as text."""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table


def html_table(
    caption: str,
    lines: Iterable[Sequence[str]],
    head: Sequence[str] = (),
    foot: Sequence[str] = (),
) -> str:
    """A table of plain texts, which may hold anything."""
    rows = [*_row("th", head), *(row for cells in lines for row in _row("td", cells))]
    body = "".join([*rows, *_row("th", foot)])
    return f"<table><caption>{escape(caption)}</caption>{body}</table>"


def _row(tag: str, cells: Sequence[str]) -> Iterator[str]:
    if cells:
        yield "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


class Displayed:
    """A record that a notebook shows as a table of its fields, those of records in it too."""

    def _repr_html_(self) -> str:
        return html_table(type(self).__name__, named_values(self))


def named_values(record: object, before: str = "") -> Iterator[tuple[str, str]]:
    """A record's fields as texts; what is neither plain nor `Displayed` is left out."""
    for name, value in vars(record).items():
        if isinstance(value, Displayed):
            yield from named_values(value, f"{before}{name}.")
        elif isinstance(value, float):
            yield before + name, f"{value:,.5g}"
        elif isinstance(value, int) and not isinstance(value, bool):
            yield before + name, f"{value:,}"
        elif isinstance(value, str | Path | bool):
            yield before + name, str(value)


def width_in_files(table: Table) -> int:
    """Letters to a line, 120 at least, at which no cell that may not be wrapped is cut."""
    for column in table.columns:
        if column.no_wrap:
            cells = [column.header, column.footer, *column.cells]
            column.min_width = max(cell_len(line) for x in cells for line in [*str(x).split("\n")])
    plain = Console(width=10_000, markup=False, emoji=False)
    return max(120, plain.measure(table).minimum)
