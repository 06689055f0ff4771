"""What an offline run of W&B holds, read by the format's own definitions."""

import json
import struct
import time
from pathlib import Path


def complete(path: Path, seconds: float = 60) -> list:
    """The records of a finished run: W&B's own process writes the last of them some time after `finish` returns."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = records(path)
        if any(one.HasField("exit") for one in found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{path}: no end of the run")


def records(path: Path) -> list:
    """The records of a .wandb file: W&B's protocol buffers in LevelDB's log format, blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, found, pending = path.read_bytes(), 7, [], b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        pending += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            found.append(Record.FromString(pending))
            pending = b""
    return found


def items(updates) -> dict:
    return {".".join(one.nested_key) or one.key: json.loads(one.value_json) for one in updates}


def curves(out: Path, name: str) -> dict[str, list[tuple[int, float]]]:
    """Of the one offline run in a run's folder: line -> (step, value), in the order in which they were logged."""
    (path,) = out.glob("wandb/offline-run-*/run-*.wandb")
    found: dict[str, list[tuple[int, float]]] = {}
    for record in complete(path):
        point = items(record.history.item) if record.HasField("history") else {}
        if f"{name}/step" in point:
            (line,) = [key for key in point if key.startswith(f"{name}/") and key != f"{name}/step"]
            found.setdefault(line.removeprefix(f"{name}/"), []).append((point[f"{name}/step"], point[line]))
    return found
