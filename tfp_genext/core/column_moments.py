"""Running mean and standard deviation of the columns of data."""

from __future__ import annotations

import numpy as np


class ColumnMoments:
    """Mean and standard deviation of the columns of data, accumulated over batches in float64.

    The update is that of Chan, Golub and LeVeque, 1979, which avoids the cancellation in sums of
    squares. Columns are on the last axis.
    """

    def __init__(self) -> None:
        self._weight = 0.0
        self._mean: np.ndarray | float = 0.0
        self._sum_of_squares: np.ndarray | float = 0.0
        self._largest: np.ndarray | float = 0.0

    def update(self, x: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Adds a batch.

        Args:
          x: values `[N, ..., D]`, or `[N]`.
          weights: weights of the rows, `[N]`. Default: 1 each.
        """
        x = np.asarray(x, np.float64)
        rows = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
        columns = x.reshape([-1, x.shape[-1]]) if x.ndim > 1 else x
        weights = np.repeat(rows, columns.shape[0] // max(len(x), 1))
        total = weights.sum()
        if total <= 0.0:
            return
        mean = np.average(columns, axis=0, weights=weights)
        spread = weights @ np.square(columns - mean)
        both = self._weight + total
        shift = mean - self._mean
        self._sum_of_squares += spread + np.square(shift) * (self._weight * total / both)
        self._mean += shift * (total / both)
        self._largest = np.maximum(self._largest, np.abs(columns).max(axis=0))
        self._weight = both

    @property
    def seen(self) -> bool:
        """Whether any row with a weight above 0 was added."""
        return self._weight > 0.0

    @property
    def mean(self) -> np.ndarray:
        """Weighted means, `[D]` or `[]`."""
        return np.asarray(self._mean)

    @property
    def stddev(self) -> np.ndarray:
        """Weighted standard deviations, `[D]` or `[]`."""
        return np.sqrt(self._sum_of_squares / self._weight)

    def root_mean_square(self) -> np.ndarray:
        """Returns the weighted root mean squares, `[D]` or `[]`."""
        return np.hypot(self.mean, self.stddev)

    def constant(self, resolution: float) -> np.ndarray:
        """Tells which columns vary by less than the rounding error of their values.

        Args:
          resolution: relative rounding error of the values, such as `np.finfo(np.float32).eps`.
        """
        return self.stddev <= resolution * np.asarray(self._largest)
