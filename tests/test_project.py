"""What the project says about itself is true."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import convworks

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def tracked() -> list[Path]:
    """The files that git knows, or all in a copy without git."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this copy is no git checkout")
    return [ROOT / name for name in listed.stdout.splitlines()]


def first_runs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("first_runs", ROOT / "benchmarks/first_runs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_checks_call_the_readmes_test_command() -> None:
    setup, tests = blocks("sh")[:2]
    assert setup.strip().endswith(".venv/bin/convworks train")
    assert tests.strip() in (ROOT / ".ci/run").read_text().splitlines()


def test_the_readmes_figures_are_those_that_the_command_wrote() -> None:
    module = first_runs()
    results = json.loads(module.RESULTS.read_text())
    shown = README.split(module.BEGIN)[1].split(module.END)[0].strip()
    assert shown == module.table(results)
    assert [result["command"] for result in results] == [
        f"convworks {command}" for command, seeds in module.RUNS for _ in range(seeds)
    ]


def test_the_readmes_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = blocks("python")
    exec(compile(program, "README.md", "exec"), {})
    shown = capsys.readouterr().out.splitlines()
    accuracy, path = shown[-2].split()
    assert Path(path, "curves.svg").exists()
    # In bf16 at the end of the run, in fp32 here; after one epoch many pictures are near a border.
    assert float(shown[-1]) == pytest.approx(float(accuracy), abs=0.03)


def test_the_readmes_commands_parse() -> None:
    """Every option that the README names is one of the command's."""
    commands = [line.split("#")[0].split() for line in blocks("sh")[2].splitlines()]
    assert len(commands) >= 5
    for command in commands:
        assert command[0] == "convworks"
        shown = subprocess.run(
            [sys.executable, "-m", *command[:2], "--help"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for word in command:
            assert not word.startswith("--") or f"{word} " in shown


def test_no_address_of_a_package_registry() -> None:
    hosts = ("pypi" + ".org", "pythonhosted" + ".org", "registry.npm" + "js", "deb.debian" + ".org")
    for file in tracked():
        if file.suffix in {".png", ".svg"}:
            continue
        text = file.read_text()
        for host in hosts:
            assert host not in text, file


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


def test_the_page_on_memory_is_what_the_command_wrote() -> None:
    path = ROOT / "benchmarks" / "memory.py"
    spec = importlib.util.spec_from_file_location("memory_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text() == module.page(json.loads(module.RESULTS.read_text()))
