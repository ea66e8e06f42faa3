"""From which size on does a network train faster in bf16 than in fp32 on this CPU?

    python benchmarks/precision.py

Trains each network for some steps in both precisions by turns, batch 128, and writes images/s
(median of the rounds) and their ratio. the bound in `train/device.py` comes from these figures.
"""

import json
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
import torch.nn.functional as F

from convworks.measure.summary import summarize
from convworks.nets.registry import create_model
from convworks.train.device import environment

RESULTS = Path(__file__).parent / "results" / "precision.json"
BATCH, ROUNDS = 128, 5
NETWORKS = (
    ("lenet", 28),
    ("lenet_bn", 28),
    ("lenet", 64),
    ("lenet", 112),
    ("lenet", 224),
    ("vgg11_small", 28),
    ("densenet_book", 28),
    ("googlenet", 28),
    ("resnet18", 28),
    ("densenet_book", 96),
    ("resnet18", 96),
    ("vgg11_small", 224),
)


def main() -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    results = []
    for name, size in NETWORKS:
        model = create_model(name, num_classes=10, in_channels=1, image_size=size)
        macs = summarize(model, (1, size, size), depth=0).totals.macs
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        images = torch.randn(BATCH, 1, size, size).contiguous(memory_format=torch.channels_last)
        labels = torch.randint(0, 10, (BATCH,))
        rates: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
        steps = max(1, min(30, 3_000_000_000 // (macs * BATCH)))
        for _ in range(ROUNDS + 1):
            for precision, found in rates.items():
                started = perf_counter()
                for _ in range(steps):
                    with torch.autocast("cpu", precision, precision != torch.float32):
                        logits = model(images)
                    F.cross_entropy(logits.float(), labels).backward()
                    optimizer.step()
                    optimizer.zero_grad()
                found.append(BATCH * steps / (perf_counter() - started))
        fp32, bf16 = (median(found[1:]) for found in rates.values())  # the first round warms up
        row = {"model": name, "size": size, "macs": macs, "fp32": fp32, "bf16": bf16}
        results.append(row | {"ratio": bf16 / fp32})
        print(results[-1], flush=True)
    found = {"environment": environment(torch.device("cpu")), "images_per_second": results}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
