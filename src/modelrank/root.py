"""Where the configuration and the tables lie: beside `src` in a clone, inside an installed package."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent
CLONE = not (PACKAGE / "conf").is_dir()  # a wheel has it inside
ROOT = PACKAGE.parents[1] if CLONE else PACKAGE
CONF = ROOT / "conf"


def resolve(path: str | Path) -> Path:
    """A relative path of a config counts from the clone; of an installed package, from it where it has such a file,
    else from where the user stands. An absolute path stays as it is."""
    given = Path(path).expanduser()
    return ROOT / given if CLONE or (ROOT / given).exists() else given
