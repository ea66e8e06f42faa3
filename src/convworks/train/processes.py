"""Several processes that train one network, as `torchrun` starts them.

Each computes its share of every batch; gradients, figures and the wish to stop are exchanged, so
that all take the same steps. The first one alone writes and shows.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from platform import node
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from convworks.data.share import WHOLE, Share
from convworks.errors import InputError, TrainingError, UsageError, first_line
from convworks.train.checkpoint import CONFIG, SUMMARY, read_json
from convworks.train.device import choose_device

T = TypeVar("T")

PATIENCE = timedelta(minutes=30)
"""So long a process waits for the others: the first may have a data set to download."""


@dataclass(frozen=True)
class Processes:
    """The processes that train together; alone, every method costs nothing."""

    share: Share = WHOLE

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.share.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.share.of == 1

    def sum(self, numbers: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if not self.alone:
            dist.all_reduce(numbers)
        return numbers

    def any(self, mine: bool) -> bool:
        """Whether it is so for any of them."""
        return mine if self.alone else bool(self.sum(torch.tensor(int(mine))))

    def told(self, mine: T) -> T:
        """What the first one has."""
        if self.alone:
            return mine
        values = [mine]
        dist.broadcast_object_list(values)
        return values[0]

    def every(self, mine: T) -> list[T]:
        """What each has, in their order."""
        values = [mine] * self.share.of
        if not self.alone:
            dist.all_gather_object(values, mine)
        return values

    def check_same(self, what: str, mine: str) -> None:
        """InputError, in all of them, when one has something otherwise than the first one."""
        found = self.every((mine, node()))
        first, its_place = found[0]
        for rank, (theirs, place) in enumerate(found):
            if theirs != first:
                raise InputError(
                    f"Process {rank} on {place} has another {what} than process 0 on {its_place}"
                    f" ({theirs}, not {first}): give all the same data and --precision, and an"
                    " --out on a disk that they share."
                )

    def align(self, tensors: Iterable[Tensor]) -> None:
        """All tensors become the first one's, in place."""
        for tensor in () if self.alone else tensors:
            dist.broadcast(tensor, 0)

    def wait(self) -> None:
        """Until all are here."""
        self.any(False)

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """One process of each machine goes first, the others then find what it has made."""
        leads = os.environ.get("LOCAL_RANK", "0") == "0"
        if not leads:
            self.wait()
        yield
        if leads:
            self.wait()


ALONE = Processes()


@contextmanager
def together(device: str) -> Iterator[Processes]:
    """The processes that `torchrun` started, connected; inside another `together` the same ones.

    `device` is the config's. Raises InputError when a machine has fewer GPUs than processes, and
    TrainingError when another process has ended.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    processes = Processes(Share(int(os.environ["RANK"]), count))
    if dist.is_initialized():
        yield processes
        return
    _connect(device)
    try:
        yield processes
    except RuntimeError as error:
        lost = "gloo" in str(error) or "Connection" in str(error)
        if isinstance(error, dist.DistError) or lost:
            raise TrainingError(
                f"Process {processes.share.rank} of {count} stops, since another one has ended:"
                f" its message says why. What was saved stays. ({first_line(error)})"
            ) from error
        raise
    finally:
        dist.destroy_process_group()


def _connect(device: str) -> None:
    place = choose_device(device)
    if place.type == "mps":
        raise InputError("Several processes train on CPUs or on CUDA: add --device cpu.")
    if place.type == "cuda":
        local, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= there:
            raise InputError(
                f"This machine has {there} GPUs and is asked for process {local + 1}: start"
                " torchrun with as many processes as GPUs, or add --device cpu."
            )
        torch.cuda.set_device(local)
    backend = "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo"
    store, rank, count = next(rendezvous("env://", timeout=PATIENCE))
    if os.environ.get("LOCAL_WORLD_SIZE") == str(count):
        # torchrun keeps one store over its restarts, and PyTorch 2.15 then reads the addresses of
        # the processes that died: it hangs when the first one had. (Of several machines each has
        # a count of its own; there TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 gives a new store.)
        store = PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=PATIENCE)


def check_alone(what: str) -> None:
    """UsageError when there are several processes, for what one does."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(f"{what} is one process's work: start it without torchrun.")


def is_first() -> bool:
    """Whether this process is alone or the first of several; needs no connection."""
    return os.environ.get("RANK", "0") == "0"


def check_restarts(out: Path | None) -> None:
    """UsageError when torchrun may start the processes anew and no run folder was named.

    None could be found then.
    """
    if out is None and int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0:
        raise UsageError("torchrun --max-restarts needs --out DIR, the run folder to go on with.")


def job_id() -> str | None:
    """What torchrun's processes have alike however often it starts them; None without torchrun.

    Its count of restarts would not tell: it stays when a machine joins or leaves, and rises too
    when a run that is not this job's was refused.
    """
    given = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    if given != "none":
        return given
    # One machine, and no --standalone: all have the folder that torchrun makes for their errors,
    # …/none_x1y2z3/attempt_0/0/error.json, but for what follows it.
    folders = Path(os.environ.get("TORCHELASTIC_ERROR_FILE", "")).parents
    return folders[2].name if len(folders) > 3 else None


def goes_on(out: Path | None, processes: Processes) -> bool:
    """Whether this very job has begun the run in `out`, so that it goes on; the first one decides.

    A complete run does not: its figures may be those of an older job that was given the same id.
    """
    mine = False
    if processes.first and out is not None and job_id() and (out / CONFIG).exists():
        mine = read_json(out / CONFIG).get("job") == job_id() and not (out / SUMMARY).exists()
    return processes.told(mine)
