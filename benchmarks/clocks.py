"""A callback for training of a given duration."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np


class Clock(keras.callbacks.Callback):
    """Lowers the learning rate to 0 over a given time, and stops training then.

    Args:
      minutes: duration of training.
      learning_rate: initial learning rate of a cosine schedule.
      optimizers: optimizers whose learning rate is set. Default: that of the model.
      now: function that returns the time in seconds. Default: wall-clock time.
    """

    def __init__(
        self,
        minutes: float,
        learning_rate: float,
        optimizers: Sequence[keras.optimizers.Optimizer] = (),
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__()
        self._learning_rate = learning_rate
        self._seconds = 60.0 * minutes
        self._optimizers = optimizers
        self._now = now
        self.minutes: list[float] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self._start = self._now()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        share = min(1.0, (self._now() - self._start) / self._seconds)
        warm = min(1.0, share / 0.02)
        rate = self._learning_rate * warm * 0.5 * (1.0 + np.cos(np.pi * share))
        for optimizer in self._optimizers or [self.model.optimizer]:
            optimizer.learning_rate.assign(max(rate, 1e-6))
        if share >= 1.0:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.minutes.append((self._now() - self._start) / 60.0)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._now() - self._start >= self._seconds:
            self.model.stop_training = True
