"""How much memory a network needs, from one step on the meta device.

The step is the trainer's: forward, loss, backward, in the precision's arithmetic. Every storage is
counted from its making to its end, so that the peak is that of the step and not a sum of estimates.
What the kernels use inside one operation is not seen; `convworks bench` measures it with the rest.
"""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from convworks.measure.display import html_table, named_values
from convworks.measure.trace import run_checked
from convworks.nets.meta import Kernels, on_meta

STATES = {"sgd": 0, "nesterov": 1, "adamw": 2}
"""Numbers that an optimizer keeps for each weight."""


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of one step, by what they are for."""

    batch: int
    parameters: int
    """And buffers."""
    gradients: int
    """Of the weights, as far as they exist at the peak."""
    optimizer: int
    activations: int
    """Kept for the backward pass, copies of weights in 16 bits included."""
    transient: int
    """What else lives at the peak: pictures, results, gradients of activations."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.parameters + self.gradients + self.optimizer + self.activations + self.transient

    def _repr_html_(self) -> str:
        lines = [*named_values(self), ("total", f"{self.total:,}")]
        return html_table("Memory, bytes", lines)


def predict_memory(
    model: nn.Module,
    shape: Sequence[int],
    batch: int = 1,
    *,
    training: bool = True,
    optimizer: Literal["sgd", "nesterov", "adamw"] = "adamw",
    precision: torch.dtype = torch.float32,
) -> Memory:
    """What one step of training, or without `training` one of use, needs for a batch of images.

    `shape` is that of one image: channels, height, width. The step runs on the meta device and
    needs no memory itself; the model is not changed. `precision` is that of the arithmetic, weights
    stay fp32. What kernels use inside one operation is not seen; docs/memory.md compares with
    measurements. Raises InputError for images that the network cannot take.
    """
    twin = on_meta(model).train(training)
    weights = sum(_bytes(p) for p in twin.parameters())
    buffers = sum(_bytes(b) for b in twin.buffers())
    trained = [p for p in twin.parameters() if p.requires_grad]
    live = _Live(known=[*twin.parameters(), *twin.buffers()])
    for parameter in trained:
        parameter.register_post_accumulate_grad_hook(live.note_gradient)  # type: ignore[no-untyped-call]
    autocast, kept = _Autocast(precision), 0
    for layer in twin.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            # backward() leaves the mode: what it computes again has to enter it.
            layer.forward = autocast.around(layer.forward)  # type: ignore[method-assign]
    with live, torch.set_grad_enabled(training), autocast:
        images = torch.empty(batch, *shape, device="meta")
        output = run_checked(twin, images, shape)
        if training:
            outputs = output if isinstance(output, tuple) else (output,)
            labels = torch.empty(batch, dtype=torch.long, device="meta")
            losses = [F.cross_entropy(one.float(), labels) for one in outputs]
            loss = torch.stack(losses).sum()
            del output, outputs, losses
            kept = live.now
            loss.backward()  # type: ignore[no-untyped-call]
    rest = live.peak - live.gradients_at_peak
    kept = min(kept, rest)
    state = STATES[optimizer] * sum(_bytes(p) for p in trained) if training else 0
    return Memory(
        batch, weights + buffers, live.gradients_at_peak, state, kept, transient=rest - kept
    )


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def largest_batch(budget: int, need: Callable[[int], int]) -> int:
    """The largest batch that `need`s no more than `budget` bytes; 0 when no image fits."""
    fits, fails = 0, 1
    while fails < 2**24 and need(fails) <= budget:
        fits, fails = fails, 2 * fails
    while fails - fits > 1:
        middle = (fits + fails) // 2
        if need(middle) <= budget:
            fits = middle
        else:
            fails = middle
    return fits


class _Autocast(TorchFunctionMode):
    """Convolutions and Linear layers in 16 bits; autocast itself passes the meta device by."""

    def __init__(self, precision: torch.dtype) -> None:
        super().__init__()
        self.precision = precision
        self.casts: dict[int, Tensor] = {}

    def around(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """The same function inside the mode."""

        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return forward(*args, **kwargs)

        return inside

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if self.precision != torch.float32 and func in (torch.conv2d, F.linear, F.conv2d):
            args = tuple(self._cast(x) if isinstance(x, Tensor) else x for x in args)
        return func(*args, **(kwargs or {}))

    def _cast(self, x: Tensor) -> Tensor:
        if x.dtype == self.precision:
            return x
        if not isinstance(x, nn.Parameter):
            return x.to(self.precision)
        if id(x) not in self.casts:  # autocast casts a weight once
            self.casts[id(x)] = x.to(self.precision)
        return self.casts[id(x)]


class _Live(Kernels):  # type: ignore[no-untyped-call]
    """Bytes of all storages that are alive, and the most at once; known ones are left out."""

    def __init__(self, known: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self.gradients = 0
        self.gradients_at_peak = 0
        self.seen = {tensor.untyped_storage()._cdata for tensor in known}

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Notes the storages of what it gives."""
        result = super().call(func, args, kwargs)
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return result

    def note_gradient(self, parameter: Tensor) -> None:
        """That a weight's gradient is there, to stay."""
        self.gradients += _bytes(parameter)

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.seen:
            return
        self.seen.add(key)
        self.now += size
        if self.now > self.peak:
            self.peak = self.now
            self.gradients_at_peak = self.gradients
        weakref.finalize(storage, self._end, key, size)

    def _end(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size
