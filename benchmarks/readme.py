"""Tables in the README that commands write."""

from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def marks(name: str) -> tuple[str, str]:
    """What stands before and behind the table of benchmarks/NAME.py."""
    return f"<!-- {name}: written by benchmarks/{name}.py -->", f"<!-- /{name} -->"


def put_into_readme(name: str, table: str) -> None:
    """Puts a table between its marks."""
    begin, end = marks(name)
    before, rest = README.read_text().split(begin)
    _, after = rest.split(end)
    README.write_text(f"{before}{begin}\n{table}\n{end}{after}")
