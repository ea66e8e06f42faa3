"""The documents' figures beside ours: as a table, as a page."""

from collections import Counter
from collections.abc import Sequence

from rich.table import Table

from convworks.bench.claims.claim import SOURCES, Judged

COLUMNS = ("source", "what", "printed", "ours", "verdict", "why")
LONG = 40
"""Characters; what is equal is not printed twice beyond."""


def _cells(one: Judged) -> tuple[str, ...]:
    ours = "the same" if one.ours == one.printed and len(one.ours) > LONG else one.ours
    return (one.source, one.what, one.printed, ours, one.verdict, one.reason)


def tables(judged: Sequence[Judged]) -> list[Table]:
    """One for each section."""
    shown = []
    for section, rows in _sections(judged).items():
        table = Table(title=section, title_justify="left", expand=True)
        for column in COLUMNS:
            table.add_column(column, no_wrap=column in ("source", "verdict"))
        for one in rows:
            table.add_row(*_cells(one))
        shown.append(table)
    return shown


def _sections(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    sections: dict[str, list[Judged]] = {}
    for one in judged:
        sections.setdefault(one.section, []).append(one)
    return sections


def tally(judged: Sequence[Judged]) -> str:
    """How many of each verdict."""
    counts = Counter(one.verdict for one in judged)
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())


def as_page(judged: Sequence[Judged], environment: dict[str, object], command: str) -> str:
    """docs/reproduced.md, written by that command."""
    lines = [
        "# The documents' figures, beside ours",
        "",
        "Every figure that the source documents print, computed again or trained again at their",
        f"settings. Written by `{command}`, on",
        f"{environment['threads']} threads of an {environment['cpu']}"
        + (f" and {environment['gpu']}" if environment["gpu"] else "")
        + f", PyTorch {environment['torch']}; what a training ran on stands beside its speed.",
        "",
        f"{len(judged)} figures: {tally(judged)}.",
        "",
        "| | document |",
        "|---|---|",
        *(f"| {name} | {title} |" for name, title in SOURCES.items()),
        "",
        "*Follows*: the document prints the formula or the layers, not the figure itself.",
        "",
        "Trainings are one run each with seed 0, Xavier initialization and the `book` recipe, on",
        "54,000 of the 60,000 training images: the rest chooses the epoch whose weights the test",
        "set judges. Accuracies within 0.01 of the printed count as equal, losses and speeds",
        "within a tenth. Training loss and accuracy are of the last epoch, while it trained.",
        "",
        "## Where the documents err",
        "",
        *(
            f"- **{one.what}** ({one.source}): printed {one.printed}; found {one.ours}:"
            f" {one.reason}."
            for one in judged
            if one.verdict == "document wrong"
        ),
    ]
    for section, rows in _sections(judged).items():
        lines += ["", f"## {section}", "", "| " + " | ".join(COLUMNS) + " |", "|---" * 6 + "|"]
        lines += ["| " + " | ".join(c.replace("|", "\\|") for c in _cells(x)) + " |" for x in rows]
    return "\n".join(lines) + "\n"
