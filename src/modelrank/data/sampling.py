"""Seeded, stratified drawing of splits and subsamples: pure functions of labels and a seed."""

from __future__ import annotations

import zlib

import numpy as np


def allot(counts: np.ndarray, total: int, keep: int = 0) -> np.ndarray:
    """How many of each class to draw, in proportion to `counts` (C integers), `total` in all, at most count - keep.

    Largest remainders, except that every class that can give one gives one as long as `total` allows: a class that
    is never seen cannot be scored.
    """
    room = np.maximum(counts - keep, 0)
    if total >= room.sum():
        return room
    exact = room * (total / room.sum())
    shares = np.minimum(np.maximum(np.floor(exact), 1), room).astype(int)
    while (missing := total - shares.sum()) != 0:  # at most C rounds
        if missing > 0:
            shares[np.argmax(np.where(shares < room, exact - shares, -np.inf))] += 1
        else:  # too many classes were raised to one: from the best served, then whole small classes
            shares[np.argmax(np.select([shares > 1, shares == 1], [shares - exact, -2 - exact], -np.inf))] -= 1
    return shares


def draw(labels: np.ndarray | None, size: int, seed: int, purpose: str, *, count: int, keep: int = 0) -> np.ndarray:
    """Sorted indices of `size` of `count` samples, stratified by `labels` (N integers; None: plain random).

    `keep` samples of each class stay behind. The stream of random numbers depends on `purpose` too, so that the
    sample of one split does not change with the size of another.
    """
    rng = np.random.default_rng([seed, zlib.crc32(purpose.encode())])
    if labels is None:
        return np.sort(rng.permutation(count)[:size])
    classes, counts = np.unique(labels, return_counts=True)
    shares = allot(counts, size, keep)
    chosen = [rng.permutation(np.flatnonzero(labels == c))[:n] for c, n in zip(classes, shares, strict=True)]
    return np.sort(np.concatenate(chosen))
