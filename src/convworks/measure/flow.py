"""How data flow through a network: its modules in their order, with branches where data branch.

Nothing is described a second time: the real module runs on the meta device, every operation that
reaches PyTorch's kernels is noted with where its operands come from, and of that each module's own
part is read as steps and forks.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from convworks.measure.trace import run_checked
from convworks.nets.meta import Kernels, on_meta

aten = torch.ops.aten

UNSEEN = {
    *("view", "_unsafe_view", "reshape", "permute", "transpose", "t", "alias", "clone", "expand"),
    *("_to_copy", "slice", "select", "squeeze", "unsqueeze", "detach", "contiguous"),
}
"""Operations that move numbers and compute none: no step of their own."""


@dataclass(frozen=True)
class Step:
    """A module that runs, or an operation that a `forward` computes itself."""

    name: str
    """As in `named_modules`; empty for an operation and for the network itself."""
    kind: str
    """The module's class, or PyTorch's name of the operation."""
    layer: nn.Module | None
    """The module, its weights without numbers; None for an operation."""
    output: tuple[int, ...]
    """Of one image."""
    inside: "Flow | None" = None
    """What happens in it; None for a single layer, and where data do not flow in forks and joins
    that lie in one another."""


@dataclass(frozen=True)
class Fork:
    """Paths that begin at the same place and end in the step behind the fork."""

    paths: "tuple[Flow, ...]"
    """An empty one is a shortcut."""


Flow = tuple[Step | Fork, ...]


@dataclass
class _Operation:
    kind: str
    calls: tuple[int, ...]
    """Inside which modules' calls it happens, the network's own first."""
    given: tuple[int, ...]
    """Which operations made its operands."""
    output: tuple[int, ...]


@dataclass
class _Call:
    name: str
    module: nn.Module
    result: int = -1
    """The operation that made what it gives."""


@dataclass
class _Record:
    operations: list[_Operation] = field(default_factory=list)
    calls: list[_Call] = field(default_factory=list)
    stack: list[int] = field(default_factory=list)


class _NotNestedError(Exception):
    """Forks and joins that do not lie in one another."""


def flow(model: nn.Module, shape: Sequence[int]) -> Step:
    """The network as one step; `inside` has its parts.

    `shape` is of one image: channels, height, width. The model is neither run nor changed.
    InputError names the layer that cannot take it.
    """
    twin = on_meta(model).eval()
    record = _Record()
    image = torch.empty(1, *shape, device="meta")
    record.operations.append(_Operation("input", (), (), tuple(shape)))
    image.origin = 0  # type: ignore[attr-defined]
    names: list[str] = []
    with _calls_noted(twin, record, names), torch.no_grad(), _Origins(record):
        run_checked(twin, image, shape, names)
    return _step(record, 0)


class _Origins(Kernels):
    """Notes each operation, and marks each tensor with the operation that made it."""

    def __init__(self, record: _Record) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.record = record

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Notes whose results it takes."""
        given = [x.origin for x in tree_leaves((args, kwargs)) if hasattr(x, "origin")]
        result = super().call(func, args, kwargs)
        made = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        if given and made:
            kind = func._overloadpacket._qualified_op_name.removeprefix("aten::").removesuffix("_")
            calls = tuple(self.record.stack)
            origins = tuple(dict.fromkeys(given))
            self.record.operations.append(
                _Operation(kind, calls, origins, tuple(made[0].shape[1:]))
            )
            for x in made:
                x.origin = len(self.record.operations) - 1  # type: ignore[attr-defined]
        return result


@contextmanager
def _calls_noted(twin: nn.Module, record: _Record, names: list[str]) -> Iterator[None]:
    def enter(name: str, module: nn.Module) -> None:
        record.stack.append(len(record.calls))
        record.calls.append(_Call(name, module))
        names.append(name)

    def leave(output: object) -> object:
        call = record.stack[-1]
        first = next((x for x in tree_leaves(output) if hasattr(x, "origin")), None)
        if isinstance(output, Tensor) and first is not None:
            if call not in record.operations[first.origin].calls:  # gives what it was given
                output = first = aten.alias(output)
            record.calls[call].result = first.origin
        elif first is not None:
            record.calls[call].result = first.origin
        record.stack.pop()
        names.pop()
        return output

    handles = []
    for name, module in twin.named_modules():
        handles.append(
            module.register_forward_pre_hook(lambda m, _given, name=name: enter(name, m))
        )
        handles.append(module.register_forward_hook(lambda _m, _given, output: leave(output)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _step(record: _Record, number: int) -> Step:
    call = record.calls[number]
    output = record.operations[call.result].output if call.result >= 0 else ()
    inside = None
    if call.result >= 0 and any(True for _ in call.module.children()):
        try:
            inside = _Level(record, number).flow()
        except _NotNestedError:
            inside = None
    return Step(call.name, type(call.module).__name__, call.module, output, inside)


Node = tuple[str, int]
"""("call" or "operation", its number)."""
BEGIN, END = ("begin", 0), ("end", 0)


class _Level:
    """One call's own graph: the calls and operations directly inside it."""

    def __init__(self, record: _Record, call: int) -> None:
        self.record = record
        self.call = call
        self.seen: set[Node] = set()
        self.after: dict[Node, list[Node]] = {}
        before: dict[Node, set[Node]] = {}
        for i, operation in enumerate(record.operations):
            node = self._node(i)
            if node == BEGIN or not operation.given:
                continue
            for j in operation.given:
                if (source := self._node(j)) != node:
                    before.setdefault(node, set()).add(source)
        before[END] = {self._node(record.calls[call].result)}
        needed, waiting = {END}, [END]
        while waiting:
            for source in before.get(waiting.pop(), ()):
                if source not in needed:
                    needed.add(source)
                    waiting.append(source)
        for node, sources in before.items():  # in the order of computing
            if node in needed:
                for source in sources:
                    self.after.setdefault(source, []).append(node)
        self.order = [node for node in before if node in needed]

    def _node(self, operation: int) -> Node:
        """What stands for an operation here; for one that only moves numbers, what it moves."""
        noted = self.record.operations[operation]
        if self.call not in noted.calls:
            return BEGIN
        depth = noted.calls.index(self.call) + 1
        if depth < len(noted.calls):
            return "call", noted.calls[depth]
        return self._node(noted.given[0]) if noted.kind in UNSEEN else ("operation", operation)

    def flow(self) -> Flow:
        return tuple(self._series(BEGIN, END))

    def _series(self, node: Node, stop: Node) -> Iterator[Step | Fork]:
        """What lies between two nodes."""
        while node != stop:
            following = self.after.get(node, [])
            if not following:
                raise _NotNestedError
            if len(following) > 1:
                join = self._join(node, stop)
                yield Fork(
                    tuple(
                        () if start == join else (self._enter(start), *self._series(start, join))
                        for start in following
                    )
                )
                following = [join]
            node = following[0]
            if node != stop:
                yield self._enter(node)

    def _join(self, fork: Node, stop: Node) -> Node:
        """The first node that every path from the fork to `stop` passes."""
        for node in self.order[self.order.index(fork) + 1 if fork in self.order else 0 :]:
            if node == stop or not self._reaches(fork, stop, around=node):
                return node
        raise _NotNestedError

    def _reaches(self, start: Node, stop: Node, around: Node) -> bool:
        reached, waiting = {around, start}, [start]
        while waiting:
            for node in self.after.get(waiting.pop(), []):
                if node == stop:
                    return True
                if node not in reached:
                    reached.add(node)
                    waiting.append(node)
        return False

    def _enter(self, node: Node) -> Step:
        if node in self.seen:
            raise _NotNestedError
        self.seen.add(node)
        kind, number = node
        if kind == "call":
            return _step(self.record, number)
        operation = self.record.operations[number]
        return Step("", operation.kind, None, operation.output)
