"""What the project says about itself is true."""

import importlib.util
import json
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import convworks
from pages import ROOT, blocks

README = (ROOT / "README.md").read_text()


def tracked() -> list[Path]:
    """The files that git knows, or all in a copy without git."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this copy is no git checkout")
    return [ROOT / name for name in listed.stdout.splitlines()]


def test_the_checks_call_the_readmes_first_commands() -> None:
    setup, tests = blocks(ROOT / "README.md")[:2]
    assert setup.text.strip().endswith(".venv/bin/convworks train")
    assert setup.in_the_checks
    assert tests.text.strip().endswith(".venv/bin/python -m pytest")
    assert tests.in_the_checks


def test_the_readmes_figures_are_those_that_the_commands_wrote(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    names = ("first_runs", "peers", "inference", "readme")
    runs, peers, inference, readme = map(import_module, names)

    def shown(name: str) -> str:
        begin, end = readme.marks(name)
        found: str = README.split(begin)[1].split(end)[0].strip()
        return found

    results = json.loads(runs.RESULTS.read_text())
    assert shown("first_runs") == runs.table(results)
    assert [result["command"] for result in results] == [
        f"convworks {command}" for command, seeds in runs.RUNS for _ in range(seeds)
    ]
    for written in (peers, inference):
        assert shown(written.__name__) == written.short(json.loads(written.RESULTS.read_text()))


def test_no_address_of_a_package_registry() -> None:
    hosts = ("pypi" + ".org", "pythonhosted" + ".org", "registry.npm" + "js", "deb.debian" + ".org")
    for file in tracked():
        if file.suffix in {".png", ".svg"}:
            continue
        text = file.read_text()
        for host in hosts:
            assert host not in text, file


def test_the_checks_run_with_versions_that_are_allowed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if words := line.partition("#")[0].strip():
            name, _, version = words.partition("==")
            pinned[canonicalize_name(name)] = version
    needed = list(map(Requirement, project["dependencies"]))
    assert {canonicalize_name(one.name) for one in needed} <= pinned.keys()
    for extra in project["optional-dependencies"].values():
        needed += map(Requirement, extra)
    for one in needed:
        version = pinned.get(canonicalize_name(one.name))
        assert version is None or version in one.specifier, one


def test_names_are_all_there() -> None:
    import convworks.train  # a room must not take the place of a function of its name

    for name in convworks.__all__:
        assert getattr(convworks, name).__doc__
        assert getattr(convworks, name) is not sys.modules.get(f"convworks.{name}")
    assert set(convworks.__all__) <= set(dir(convworks))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        convworks.nonsense  # noqa: B018


def test_the_changelog_has_this_version() -> None:
    assert f"## {convworks.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize(
    "name", ["memory", "peers", "inference", "time_to_accuracy", "roofline", "int8"]
)
def test_a_page_is_what_its_command_wrote(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / "benchmarks" / f"{name}.py"
    monkeypatch.syspath_prepend(path.parent)
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text() == module.page(json.loads(module.RESULTS.read_text()))
