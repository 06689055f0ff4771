"""Features that stay on disk: rows are read where they are asked for, so a file may be larger than memory.

Rows are read into ordinary memory, not mapped: pages of a map count as the process's memory until the system takes
them back, so that one pass over a mapped file looks like (and under a memory limit is) the whole file in memory.
"""

from __future__ import annotations

import json
import os
import weakref
from itertools import pairwise
from math import prod
from operator import index
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SAFETENSORS = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
NUMPY = {"<f2": torch.float16, "<f4": torch.float32, "<f8": torch.float64}


class FeatureFile:
    """An N x D matrix in a .safetensors or .npy file, in place of `FeatureSet.features`.

    Has of a tensor what a pass over its rows needs: shape, dtype, device (the CPU), and `file[rows]`, a new tensor of
    the rows of a slice or of a vector of row numbers. A scorer that streams reads it in chunks; the others (and all of
    them where N < D) read it whole. Opening reads the header alone.

    path: little-endian floating numbers, row by row: float16, bfloat16 (safetensors), float32, float64.
    tensor: its name in a .safetensors file; the feature store writes `features`.

    Raises ValueError naming the file where it holds no such matrix or ends too early.
    """

    is_cuda = False
    device = torch.device("cpu")

    def __init__(self, path: str | Path, tensor: str = "features") -> None:
        self.path = Path(path)
        read = _npy_layout if self.path.suffix == ".npy" else _safetensors_layout
        self.dtype, self.shape, self._start = read(self.path, tensor)
        if len(self.shape) != 2:
            raise ValueError(f"{self.path}: features must be a matrix, this array has shape {self.shape}")
        self._row = self.shape[1] * self.dtype.itemsize
        self._file = os.open(self.path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        if self.path.stat().st_size < self._start + self.shape[0] * self._row:
            raise ValueError(f"{self.path} is cut off: it ends before its {self.shape[0]} x {self.shape[1]} numbers do")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step != 1:
                raise ValueError(f"rows must be contiguous, got a step of {step}")
            out = torch.empty(max(0, stop - start), self.shape[1], dtype=self.dtype)
            self._read(start, out)
            return out
        out = torch.empty(len(rows), self.shape[1], dtype=self.dtype)
        breaks = (rows.diff() != 1).nonzero()[:, 0] + 1  # one read for each run of neighbouring rows
        edges = [0, *breaks.tolist(), len(rows)]
        for first, last in pairwise(edges):
            self._read(int(rows[first]), out[first:last])
        return out

    def _read(self, start: int, out: Tensor) -> None:
        if not 0 <= start <= len(self) - len(out):
            raise IndexError(f"{self.path} has rows 0..{len(self) - 1}, not {start}..{start + len(out) - 1}")
        buffer = out.view(torch.uint8).numpy().data.cast("B") if out.numel() else memoryview(b"")
        position = self._start + start * self._row
        while len(buffer):
            done = os.preadv(self._file, [buffer], position)  # may stop early, by the system's own limits
            if not done:
                raise ValueError(f"{self.path} became shorter while it was read")
            buffer, position = buffer[done:], position + done


Layout = tuple[torch.dtype, tuple[int, ...], int]  # dtype, shape, position of the first number


def _safetensors_layout(path: Path, tensor: str) -> Layout:
    """The format: 8 bytes with the length of a JSON header, the header, the numbers."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > 100_000_000:  # the format's own limit; another kind of file shows as nonsense here
            raise ValueError(f"{path} is neither a .npy nor a .safetensors file")
        try:
            tensors = {**json.loads(file.read(length))}
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is neither a .npy nor a .safetensors file, or is damaged") from error
    if tensor not in tensors:
        names = ", ".join(sorted(set(tensors) - {"__metadata__"}))
        raise ValueError(f"{path} holds no tensor {tensor!r}; it holds {names or 'none'}")
    try:
        kind, shape = str(tensors[tensor]["dtype"]), tuple(map(index, tensors[tensor]["shape"]))
        start, stop = map(index, tensors[tensor]["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: its header does not say what {tensor} is") from error
    if kind not in SAFETENSORS:
        raise ValueError(f"{path}: {tensor} holds {kind}, not one of {', '.join(SAFETENSORS)}")
    if min(start, *shape) < 0 or stop - start != prod(shape) * SAFETENSORS[kind].itemsize:
        raise ValueError(f"{path} is damaged: {shape} numbers of {kind} are not in the bytes {start} to {stop}")
    return SAFETENSORS[kind], shape, 8 + length + start


def _npy_layout(path: Path, tensor: str) -> Layout:
    try:
        mapped = np.load(path, mmap_mode="r")  # reads the header; the map is dropped untouched
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no readable .npy file: {error}") from error
    if mapped.dtype.str not in NUMPY or not mapped.flags.c_contiguous:
        order = "" if mapped.flags.c_contiguous else ", column by column"
        raise ValueError(f"{path} holds {mapped.dtype}{order}; write float16, float32 or float64, row by row")
    return NUMPY[mapped.dtype.str], mapped.shape, mapped.offset
