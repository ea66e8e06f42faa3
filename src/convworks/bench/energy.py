"""What a computation costs in joules, where the hardware counts them."""

from pathlib import Path

import torch

COUNTERS = Path("/sys/class/powercap")
"""Linux's counters of Intel's and AMD's processors: microjoules since some moment."""


def joules(device: torch.device) -> float | None:
    """A counter of the energy that the device has used; None where there is none to read.

    On a CPU of all packages together, in joules; on an NVIDIA GPU by its driver, with pynvml.
    """
    if device.type == "cuda":
        return _nvidia(device)
    total, found = 0, False
    for counter in COUNTERS.glob("intel-rapl:[0-9]*/energy_uj"):
        if counter.parent.name.count(":") != 1:
            continue  # a part of a package
        try:
            if not (counter.parent / "name").read_text().startswith("package"):
                continue  # psys counts all packages once more
            total += int(counter.read_text())
        except (OSError, ValueError):
            return None  # often only root may read it
        found = True
    return total / 1e6 if found else None


def _nvidia(device: torch.device) -> float | None:
    try:
        import pynvml

        pynvml.nvmlInit()
        # By its number it may be another: the driver counts those that CUDA_VISIBLE_DEVICES hides.
        uuid = torch.cuda.get_device_properties(device).uuid
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
    except Exception:  # no library, no driver, an old card
        return None
