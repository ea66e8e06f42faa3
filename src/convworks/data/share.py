"""Which part of every batch is one process's, when several train one network."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Share:
    """The `rank`-th of `of` parts of a batch; together they are the batch, and none overlap."""

    rank: int = 0
    of: int = 1

    def cut(self, batch: Tensor) -> Tensor:
        """Its rows, as many as of any other share, or one more or less."""
        start, end = (len(batch) * rank // self.of for rank in (self.rank, self.rank + 1))
        return batch[start:end]


WHOLE = Share()
"""Of a process alone."""
