"""By how much a process grows while a function is called over and over."""

from __future__ import annotations

import gc
import os
import pathlib
from collections.abc import Callable

import tensorflow as tf

# What the allocator may keep or give back between two looks, in MB.
SLACK = 8.0


def growth(function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor, calls: int) -> float:
    """Returns by how many MB the process grows in so many calls, after as many to warm up."""
    for _ in range(2):
        before = megabytes()
        for _ in range(calls):
            function(tf.identity(x))
        gc.collect()
    return megabytes() - before


def megabytes(process: int | str = "self") -> float:
    """Returns how much memory a process has."""
    pages = int(pathlib.Path(f"/proc/{process}/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
