"""How fast a network trains and answers on this machine."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from time import perf_counter

import torch

from convworks.bench.contest import Contestant
from convworks.bench.energy import joules
from convworks.bench.machine import know_machine
from convworks.bench.memory import measure_memory
from convworks.bench.roofline import Roofline, measure_roofline
from convworks.measure.display import Displayed
from convworks.measure.memory import predict_memory
from convworks.measure.summary import summarize
from convworks.train.device import environment, memory_kept, precision_name, wait

WARM_UP_SECONDS = 1.0
WINDOW_SECONDS = 1.0
"""A repeat takes at least so long, and at least one step."""
LATENCIES = 50


@dataclass(frozen=True)
class Rate(Displayed):
    """Images a second: the median of several repeats, the slowest and the fastest."""

    median: float
    low: float
    high: float
    joules_per_image: float | None
    """Of the whole processor or GPU; None where the hardware does not tell."""


@dataclass(frozen=True)
class Latency(Displayed):
    """Milliseconds for one image, asked alone."""

    median: float
    p95: float


@dataclass(frozen=True)
class Footprint(Displayed):
    """Bytes at the peak of a step; `needed` and `resident` as in `measure_memory`."""

    predicted: int
    needed: int | None
    resident: int | None


@dataclass(frozen=True)
class Bench(Displayed):
    """What was measured, and on what."""

    model: str
    input: tuple[int, int, int]
    classes: int
    batch_size: int
    device: str
    precision: str
    parameters: int
    macs: int
    training: Rate
    inference: Rate
    latency_ms: Latency
    training_memory: Footprint
    inference_memory: Footprint
    training_roofline: Roofline
    inference_roofline: Roofline
    environment: dict[str, object]

    def to_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return asdict(self) | {
            "training_roofline": self.training_roofline.to_dict(),
            "inference_roofline": self.inference_roofline.to_dict(),
        }


def benchmark(contestant: Contestant, *, repeats: int = 5, remeasure: bool = False) -> Bench:
    """Measures a network: some ten seconds for the small, some minutes for the large.

    Pictures are invented and lie on the device: loading is not part of it. Training takes the
    modern recipe's optimizer, both take the trainer's precision and layout. The machine's own peaks
    are measured once and kept, unless `remeasure`. Rates are images a second, latencies
    milliseconds, memory bytes. Raises InputError for a network, an image or a device that there is
    not.
    """
    single = Contestant(**asdict(contestant) | {"batch_size": 1})
    totals = summarize(contestant.on_meta(), contestant.shape, depth=0).totals
    device, count = contestant.device, contestant.batch_size
    machine = know_machine(device, remeasure=remeasure)
    return Bench(
        model=contestant.name,
        input=contestant.shape,
        classes=contestant.num_classes,
        batch_size=count,
        device=str(device),
        precision=precision_name(contestant.precision()),
        parameters=totals.parameters,
        macs=totals.macs,
        training=measure_rate(contestant.training_step(), count, device, repeats),
        inference=measure_rate(contestant.inference_step(), count, device, repeats),
        latency_ms=_latency(single.inference_step(), device),
        training_memory=_footprint(contestant, training=True),
        inference_memory=_footprint(contestant, training=False),
        training_roofline=measure_roofline(contestant, machine, training=True, repeats=repeats),
        inference_roofline=measure_roofline(contestant, machine, training=False, repeats=repeats),
        environment=environment(device),
    )


def measure_rate(step: Callable[[], None], images: int, device: torch.device, repeats: int) -> Rate:
    """How fast a step of so many images is repeated, after a warm-up, in so many windows."""
    rates = []
    with memory_kept(device):
        _window(step, device, WARM_UP_SECONDS, least=2)
        spent, used = 0, joules(device)
        for _ in range(repeats):
            steps, seconds = _window(step, device, WINDOW_SECONDS)
            rates.append(steps * images / seconds)
            spent += steps * images
        now = joules(device)
    told = now is not None and used is not None and now >= used  # a counter begins anew some day
    cost = (now - used) / spent if told else None  # type: ignore[operator]
    return Rate(median(rates), min(rates), max(rates), cost)


def _window(
    step: Callable[[], None], device: torch.device, seconds: float, least: int = 1
) -> tuple[int, float]:
    """Steps until so many seconds have passed, and how long they took."""
    started, steps = perf_counter(), 0
    while steps < least or perf_counter() - started < seconds:
        step()
        steps += 1
        wait(device)
    return steps, perf_counter() - started


def _latency(step: Callable[[], None], device: torch.device) -> Latency:
    times = []
    with memory_kept(device):
        _window(step, device, WARM_UP_SECONDS, least=5)
        for _ in range(LATENCIES):
            started = perf_counter()
            step()
            wait(device)
            times.append(1e3 * (perf_counter() - started))
    return Latency(median(times), quantiles(times, n=20)[-1])


def _footprint(contestant: Contestant, *, training: bool) -> Footprint:
    predicted = predict_memory(
        contestant.on_meta(),
        contestant.shape,
        contestant.batch_size,
        training=training,
        precision=contestant.precision(),
    )
    needed = measure_memory(contestant, training=training)
    gpu = contestant.device.type == "cuda"
    resident = needed if gpu else measure_memory(contestant, training=training, returning=False)
    return Footprint(predicted.total, needed, resident)
