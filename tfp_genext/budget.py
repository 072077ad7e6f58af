"""How much may be made of what a file says: in proportion to what the file weighs."""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

# What may be made of the smallest file, and how many times its own weight a file may make.
FLOOR = 64 * 2**20
FACTOR = 4
# What a layer without its weights counts for.
_PART = 16 * 2**10
# What one step of a network may make of the two rows on which a model tries it.
_ACTIVATIONS = 256 * 2**20


class TooLarge(ValueError):
    """A file asks for more than it may."""


class Budget:
    """Bytes that may still be taken up.

    Args:
      limit: number of bytes in all.
      activations: number of bytes that one step of a network may make of two rows.
    """

    def __init__(self, limit: int, activations: int = _ACTIVATIONS) -> None:
        self.limit = limit
        self.activations = max(limit, activations)
        self._left = limit

    def spend(self, size: int, what: str) -> None:
        """Takes bytes out of the budget; raises `TooLarge` where it does not hold them."""
        self._left -= size
        if self._left < 0:
            raise _too_large(self.limit, f"{what}, the last of {self.limit - self._left} bytes")


_current: contextvars.ContextVar[Budget | None] = contextvars.ContextVar("budget", default=None)
_allowed: contextvars.ContextVar[int | None] = contextvars.ContextVar("allowed", default=None)


def current() -> Budget | None:
    """Returns the budget of the file that is being read; `None` where there is none."""
    return _current.get()


def spend(size: int, what: str) -> None:
    """Counts bytes that are about to be taken up; does nothing but while a file is read.

    Args:
      size: number of bytes.
      what: takes them up, in words.

    Raises:
      TooLarge: where a file that is being read makes more than it may.
    """
    budget = current()
    if budget is not None:
        budget.spend(size, what)


def spend_parts(number: int, what: str) -> None:
    """Counts layers or the like, which take room and time whatever they weigh, as `spend` does."""
    spend(number * _PART, f"{number} {what}")


def tried(make: Callable[[], Any]) -> Any:
    """Returns what a function makes; while a file is read, after a look at how large that gets.

    Raises:
      TooLarge: where a file that is being read makes more on the way than it may.
    """
    budget = current()
    if budget is not None:
        for size, name in _sizes(make):
            if size > budget.activations:
                raise _too_large(budget.activations, f"{size} bytes of {name}")
    return make()


def _sizes(make: Callable[[], Any]) -> Iterator[tuple[int, str]]:
    """Yields bytes and name of all that a function makes on the way, as far as they are known."""

    def traced() -> None:
        make()

    try:
        graph = tf.function(traced, autograph=False).get_concrete_function().graph
    except TooLarge:
        raise
    except Exception:  # It fails again where it is called, or does not where it needs values.
        return
    for operation in graph.get_operations():
        for tensor in operation.outputs:
            if tensor.shape.is_fully_defined():
                yield math.prod(tensor.shape) * tensor.dtype.size, operation.name


def for_file(size: int) -> Budget:
    """Returns a budget for what a file of so many bytes may make."""
    allowed = _allowed.get()
    return Budget(FLOOR + FACTOR * size if allowed is None else allowed)


@contextlib.contextmanager
def within(budget: Budget) -> Iterator[None]:
    """Counts what is made in a block against a budget."""
    token = _current.set(budget)
    try:
        yield
    finally:
        _current.reset(token)


@contextlib.contextmanager
def allowing(size: int) -> Iterator[None]:
    """Has every file that is read in a block make so many bytes, whatever it weighs."""
    token = _allowed.set(size)
    try:
        yield
    finally:
        _allowed.reset(token)


def _too_large(limit: int, received: str) -> TooLarge:
    return TooLarge(
        f"`filepath` must make at most {FACTOR} times its own size and {FLOOR >> 20} MiB, here "
        f"{limit} bytes, unless `gx.saving.size_limit` allows more. Received: {received}"
    )
