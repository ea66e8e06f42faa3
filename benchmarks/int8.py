"""What 8 bits cost in accuracy: networks trained here, exported as they are and in 8 bits.

    pip install -e '.[export]'
    python benchmarks/int8.py            # ten minutes on two cores
    python benchmarks/int8.py resnet18   # anew only what begins so
    python benchmarks/int8.py --table    # only write docs/int8.md again

Each is trained once by its command, then written by `convworks export --int8` for ONNX Runtime and
for OpenVINO, whose ranges come from training pictures. Every file is tested on all test pictures.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from first_runs import ROOT, run

RESULTS = ROOT / "benchmarks" / "results" / "int8.json"
PAGE = ROOT / "docs" / "int8.md"
COMMANDS = tuple(
    f"train {options} --data fashion_mnist --recipe quick"
    for options in (
        "lenet_bn",
        "airbench94 --set widths=[32,96,192]",
        "resnet20",
        "resnet18 --image-size 68 --epochs 1",
        "vgg11_small",
        "densenet_book --image-size 68",
    )
)
FORMATS = ("onnx", "openvino")


def measure(command: str, folder: Path) -> dict[str, Any]:
    """A training and, by format, what `convworks export --int8` says of its file."""
    trained = run(command, 0, folder)
    (path,) = folder.iterdir()
    for kind in FORMATS:
        words = ["export", str(path), "--format", kind, "--int8", "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "convworks", *words], capture_output=True, text=True
        )
        print(done.stderr, file=sys.stderr)
        said = json.loads(done.stdout) if done.returncode == 0 else {}
        names = ("run_accuracy", "test_accuracy", "test_images", "bytes")
        trained[kind] = {name: said[name] for name in names} if said else None
        if not said:
            trained[f"{kind}_refused"] = done.stderr.strip().splitlines()[-1]
    return trained


def page(results: list[dict[str, Any]]) -> str:
    """docs/int8.md."""
    place = results[0]["environment"]
    lines = [
        "# 8 bits",
        "",
        "What `convworks export --int8` costs in accuracy: networks trained once each, seed 0,",
        "their test accuracy and, in points, how much better or worse the files in 8 bits are on",
        "the same pictures; *refused* is what `export` would not keep. How fast they are is in",
        "[inference.md](inference.md).",
        "",
        f"Written by `python benchmarks/int8.py` on {place['cores']} cores of an {place['cpu']},"
        f" PyTorch {place['torch']}.",
        "",
        "| command | test accuracy | onnx in 8 bits | openvino in 8 bits |",
        "|---|---:|---:|---:|",
    ]
    for one in results:
        cells = [f"`{one['command']}`", f"{one['figures']['test_accuracy']:.4f}"]
        for kind in FORMATS:
            said = one[kind]
            points = said and 100 * (said["test_accuracy"] - said["run_accuracy"])
            cells.append("refused" if said is None else f"{points:+.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    wanted = sys.argv[1:]
    if wanted != ["--table"]:
        chosen = [
            one
            for one in COMMANDS
            if not wanted or any(one.startswith(f"train {name}") for name in wanted)
        ]
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
        results = {one["command"]: one for one in known}
        for each in chosen:
            with tempfile.TemporaryDirectory() as folder:
                results[f"convworks {each}"] = measure(each, Path(folder))
            RESULTS.write_text(json.dumps([*results.values()], indent=1) + "\n")
    PAGE.write_text(page(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
