"""What a run writes and prints between two epochs: rows of `steps.csv`, how an epoch gets on, and a forecast."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence

from ..data.images import width_x_height
from ..data.loading import Batch
from ..progress import clock, per_second, rounded_speed
from .running_time import forecast
from .setup import Setup
from .totals import EpochTotals
from .trackers.tracking import metrics_of_updates

# In seconds.
FIRST_LINE = 5  # an epoch of a small network takes less
NEXT_LINES = 60
FORECAST = 10  # of updates, however many that is


class StepLog:
    """Writes a row of `steps.csv` every so many updates, for which alone an epoch's totals are read while it lasts.

    Where no bar shows how an epoch gets on, it prints lines too: the size of the first batch, how far the run is after
    a few seconds, and then once a minute. On a CPU it says once how long the run will take, if that is long.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup, self.say = setup, setup.folder.say
        self.rows, self.lines = Stretch(), Stretch()
        self.prints = not sys.stdout.isatty()
        self.started, self.epoch_started = time.time(), 0.0
        self.line_due = self.started + FIRST_LINE
        self.updates = range(0)  # of the epoch
        self.begun, self.forecast_due = False, setup.world.device.type == "cpu"

    def begin_epoch(self, totals: EpochTotals, updates: range, saved: Mapping[str, float]) -> None:
        """The epoch will make these updates, or has them left after `saved`, in which `pack` has its part."""
        self.updates, self.epoch_started = updates, time.time()
        for stretch in (self.rows, self.lines):
            stretch.begin(totals)
        self.rows.loss = saved.get("row_loss", self.rows.loss)
        self.rows.images = saved.get("row_images", self.rows.images)

    def pack(self) -> dict[str, float]:
        """Where the next row of `steps.csv` began, for a checkpoint."""
        return {"row_loss": self.rows.loss, "row_images": self.rows.images}

    def before_step(self, parts: Sequence[Batch]) -> None:
        """These are the images of the next update; the first of all may take minutes."""
        if self.prints and not self.begun:
            self.say(f"first update: {describe_images(parts)}")
        self.begun = True

    def after_step(self, epoch: int, step: int, lr: float, totals: EpochTotals) -> None:
        """`step` updates of the epoch are done, the last of them at learning rate `lr`."""
        now = time.time()
        if step % self.setup.recipe.log_interval == 0:
            loss, speed = self.rows.end(totals)
            row = {"epoch": epoch, "step": step, "train_loss": loss, "train_lr": lr}
            row["images_per_second"] = rounded_speed(speed)
            self.setup.folder.add_row("steps.csv", row)
            self.setup.tracking.log(epoch * self.updates.stop + step, metrics_of_updates(row))
        if self.prints and now > self.line_due:
            self.line_due = now + NEXT_LINES
            loss, speed = self.lines.end(totals)
            left = (now - self.epoch_started) / (step - self.updates.start) * (self.updates.stop - step)
            self.say(
                f"epoch {epoch:3d}  step {step} of {self.updates.stop}  loss {loss:.3f}  lr {lr:.2e}  "
                f"{per_second(speed)} images/s  {clock(left)} left of the epoch"
            )
        if self.forecast_due and now > self.epoch_started + FORECAST:
            self.forecast_due = False
            self._say_forecast(epoch, step, (now - self.epoch_started) / (step - self.updates.start))

    def _say_forecast(self, epoch: int, step: int, seconds: float) -> None:
        """An update takes so many seconds."""
        recipe = self.setup.recipe
        later = (recipe.epochs - epoch - 1) * self.setup.updates_per_epoch
        for line in forecast(recipe, seconds, later + self.updates.stop - step, fresh=not self.setup.resumption):
            self.say(line)


class Stretch:
    """The mean loss and the speed between two looks at an epoch's totals."""

    def __init__(self) -> None:
        self.loss = self.images = self.since = 0.0

    def begin(self, totals: EpochTotals) -> None:
        """From here on."""
        self.loss, self.images = totals.read()
        self.since = time.time()

    def end(self, totals: EpochTotals) -> tuple[float, float]:
        """(mean loss, images a second) since it began, which it does anew here."""
        loss, images, since = self.loss, self.images, self.since
        self.begin(totals)
        count = self.images - images
        return (self.loss - loss) / count, count / (self.since - since)


def describe_images(parts: Sequence[Batch]) -> str:
    """How many they are, and how large the largest is: "16 images of 1333 x 800"."""
    sizes = {tuple(image.shape[-2:]) for batch in parts for image in batch.images}
    height, width = (max(side) for side in zip(*sizes, strict=True))
    at_most = "at most " if len(sizes) > 1 else ""
    return f"{sum(map(len, parts))} images of {at_most}{width_x_height((height, width))}"
