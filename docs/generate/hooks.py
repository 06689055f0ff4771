"""Generated pages for MkDocs: scorers, configuration, licences, notebooks, results and changes, from the sources."""

from __future__ import annotations

from pathlib import Path

import configuration
import licences
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import scorers

ROOT = Path(__file__).parents[2]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The scorers that there are take their places in the navigation."""
    entry = next(one for one in config.nav or [] if isinstance(one, dict) and "Scorers" in one)
    entry["Scorers"] = ["scorers/index.md", *(f"scorers/{name}.md" for name in scorers.names())]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    pages = {f"scorers/{name}.md": scorers.page(name) for name in scorers.names()}
    pages["scorers/index.md"] = scorers.overview()
    pages["reference/configuration.md"] = configuration.page()
    pages["reference/licences.md"] = licences.page()
    pages["reference/experiments.md"] = (ROOT / "experiments" / "README.md").read_text()
    pages["notebooks.md"] = (ROOT / "notebooks" / "README.md").read_text()
    pages["reference/changes.md"] = (ROOT / "CHANGELOG.md").read_text()
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    image = ROOT / "experiments" / "results" / "default" / "agreement.png"
    files.append(File.generated(config, "agreement.png", abs_src_path=str(image)))
    return files
