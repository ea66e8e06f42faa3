"""Progress on the terminal: a bar while an epoch runs, a line when it is over.

It goes to standard error, so that standard output holds results only. Where that is no terminal,
there are lines and no bar.
"""

from time import perf_counter
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from convworks.train.observer import History, Observer, Plan
from convworks.train.observer import Progress as Step


class SturdyConsole(Console):
    """A console that may go away, as a pipe to `head`, a terminal, a file on a disk that is full
    now: the training goes on, unseen."""

    def on_broken_pipe(self) -> None:
        """Says nothing more."""
        self.quiet = True

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError:
            self.on_broken_pipe()


class ConsoleProgress(Observer):
    """Shows a run as it goes, on standard error unless on another console, below a title."""

    def __init__(self, console: Console | None = None, title: str = "") -> None:
        self.title = title
        self.console = console or SturdyConsole(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task: TaskID | None = None
        self.begun = 0.0
        self.epochs = 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Takes the bar away."""
        self.bar.stop()

    def _print(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def read(self, done: int, count: int) -> None:
        """Moves a bar of its own, with a line in its place when all is read."""
        if self.task is None:
            self.begun = perf_counter()
            self.bar.start()
            self.task = self.bar.add_task("reading pictures", total=count, figures="")
        self.bar.update(self.task, completed=done)
        if done == count:
            self.bar.remove_task(self.task)
            self.bar.refresh()  # else what is printed next redraws it
            self.task = None
            self._print(f"read {count:,} pictures in {perf_counter() - self.begun:.1f} s")

    def note(self, text: str) -> None:
        """A line."""
        self._print(text)

    def begin(self, plan: Plan) -> None:
        """Says what is trained on what, where and how."""
        self.epochs = plan.epochs
        epochs = "1 epoch" if plan.epochs == 1 else f"{plan.epochs} epochs"
        if self.title:
            self._print(self.title)
        self._print(
            f"{plan.model}: {plan.parameters:,} parameters, {plan.macs / 1e6:,.1f} MMACs an image\n"
            f"{plan.data}\n"
            f"{plan.recipe} recipe, {epochs} of {plan.steps_per_epoch} steps, batch"
            f" {plan.batch_size}, {plan.device} in {plan.precision}, into {plan.path}"
        )
        if plan.init:
            self._print(plan.init)
        if plan.history or plan.steps:
            steps = f" and {plan.steps} steps" if plan.steps else ""
            self._print(f"resumed after epoch {len(plan.history)}{steps}")
        self.bar.start()
        self.task = self.bar.add_task("", total=plan.steps_per_epoch, figures="")

    def step(self, progress: Step) -> None:
        """Moves the bar."""
        if self.task is not None:
            self.bar.update(
                self.task,
                completed=progress.step,
                description=f"epoch {progress.epoch + 1}/{self.epochs}",
                figures=f"loss {progress.loss:.3f}  {progress.images_per_second:,.0f} images/s",
            )

    def epoch(self, history: History) -> None:
        """A line with the epoch's figures."""
        record = history[-1]
        self._print(
            f"epoch {record.epoch:>{len(str(self.epochs))}}/{self.epochs}"
            f"  loss {record.train_loss:.4f}"
            f"  train {record.train_accuracy:.4f}  val {record.val_accuracy:.4f}"
            f"  {record.images_per_second:,.0f} images/s"
        )
