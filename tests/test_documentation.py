"""What README and docs say to type works: commands compose, snippets run, and the site builds without a warning."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from modelrank import build
from modelrank.data.spec import DatasetSpec

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs" / "generate"))
import scorers as scorer_pages  # noqa: E402

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(?:<!-- runs in: (\S+) -->\n)?^```(\w*)\n(.*?)^```$", re.M | re.S)
# Launchers of extras that the tests do without; test_launchers.py runs them where they are.
OF_SLURM = ("partition", "gpus_per_node", "cpus_per_task", "timeout_min")
NOT_INSTALLED = ("hydra/launcher=submitit", "hydra/launcher=ray", *(f"hydra.launcher.{name}" for name in OF_SLURM))
INLINE = re.compile(r"`(python run\.py[^`]*)`")


def commands() -> list[str]:
    """Every `python run.py ...` of the pages, in blocks and in the text, each once."""
    found: dict[str, None] = {}
    for page in PAGES:
        text = page.read_text()
        for _, language, body in BLOCK.findall(text):
            if language != "python":
                found |= dict.fromkeys(line for line in body.splitlines() if line.startswith("python run.py"))
        found |= dict.fromkeys(INLINE.findall(BLOCK.sub("", text)))
    return list(found)


def is_option(override: str) -> bool:
    group, _, option = override.partition("=")
    return (ROOT / "conf" / group / f"{option}.yaml").is_file()


@pytest.fixture(scope="module")
def hydra():
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


def test_every_command_composes(hydra):
    """Those of the commands that are run in full are in test_run.py and tests/stages."""
    wrong = []
    for command in commands():
        words = shlex.split(command, comments=True)[2:]
        flags = [word for word in words if word.startswith("-") and word not in ("-m", "--cfg", "--help")]
        overrides = [word for word in words if not word.startswith("-") and word != "job"]
        try:
            assert not flags, f"unknown flags {flags}"
            parsed = OverridesParser.create().parse_overrides(overrides)
            parsed = [one for one in parsed if not (one.input_line or "").startswith(NOT_INSTALLED)]
            jobs = next(iter(BasicSweeper.split_arguments(parsed, max_batch_size=None)))
            assert len(jobs) == 1 or "-m" in words, "a sweep lacks -m"
            if not all(is_option(override) for override in jobs[0]):  # test_conf.py composes each option
                compose("config", list(jobs[0]), return_hydra_config=True)
        except Exception as error:
            wrong.append(f"{command}\n    {type(error).__name__}: {error}")
    assert len(commands()) > 50  # else the pages are not read as they are written
    assert not wrong, "\n".join(wrong)


def snippets() -> list:
    """The Python blocks of each page, joined; those that run elsewhere are left out."""
    found = []
    for page in PAGES:
        blocks = [
            body
            for elsewhere, language, body in BLOCK.findall(page.read_text())
            if language == "python" and not elsewhere
        ]
        if blocks:
            found.append(pytest.param("\n".join(blocks), id=page.relative_to(ROOT).as_posix()))
    return found


@pytest.mark.parametrize("code", snippets())
def test_snippets_run(code, monkeypatch):
    monkeypatch.chdir(ROOT)
    exec(compile(code, "snippet", "exec"), {})


def test_the_data_set_of_the_page_is_one():
    text = (ROOT / "docs/how-to/own-data-set.md").read_text()
    (spec,) = [body for _, language, body in BLOCK.findall(text) if language == "yaml"]
    assert isinstance(build.dataset(OmegaConf.create({"dataset": OmegaConf.create(spec)})), DatasetSpec)


def test_the_hub_of_the_page_is_one():
    text = (ROOT / "docs/how-to/own-models.md").read_text()
    (spec,) = [body for _, language, body in BLOCK.findall(text) if language == "yaml"]
    config = OmegaConf.merge({"protocol": {"image_size": 112}}, OmegaConf.create(spec))
    assert config.hub.image_size == 112
    models = build.models(config)
    assert [model.name for model in models.values()] == list(models) == list(config.models)
    assert models["squeezenet"].availability(Path()).where == "put the file at /data/weights/squeezenet.pth"


@pytest.mark.parametrize("name", scorer_pages.names())
def test_every_scorer_says_what_its_page_needs(name):
    """Idea, formula, source, cost and when it fails: in the docstring of the module or of the function."""
    found = scorer_pages.documented(name)
    assert [section for section in scorer_pages.REQUIRED if not found.sections.get(section)] == []
    assert found.title
    assert found.returns


def test_what_runs_elsewhere_is_there():
    places = [place for page in PAGES for place, _, _ in BLOCK.findall(page.read_text()) if place]
    assert places
    assert [place for place in places if not (ROOT / place).is_file()] == []


def test_links_of_the_readme_lead_somewhere():
    text = (ROOT / "README.md").read_text()
    paths = [path for path in re.findall(r"\]\(([^)#]+)", text) if "://" not in path]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_table_of_the_readme_is_that_of_the_rows():
    """experiments/results/default, made by the command beside the table, and the measured accuracies."""
    scores = pd.read_csv(ROOT / "experiments/results/default/scores.csv").query("scorer == 'disco'")
    measured = pd.read_csv(ROOT / "experiments/truth/measured.csv")
    measured = measured.query("dataset == 'cifar10' and protocol == 'finetune_offline'")
    measured = measured.groupby("model").accuracy.mean()  # over the seeds
    prediction = pd.read_csv(ROOT / "experiments/results/default/prediction.csv")
    disco = scores.set_index("model").score
    places = disco.rank(ascending=False), measured[prediction.model].rank(ascending=False)
    rows = [
        f"| {number} | {row.model} | {row.expected:.2f} | [{row.low:.2f}, {row.high:.2f}] | {disco[row.model]:.4f} "
        f"| {places[0][row.model]:.0f} | {measured[row.model]:.3f} | {places[1][row.model]:.0f} |"
        for number, row in enumerate(prediction.itertuples(), 1)
    ]
    assert "\n".join(rows) in (ROOT / "README.md").read_text(), "\n".join(["the rows are", *rows])


def test_the_site_builds_without_a_warning(tmp_path):
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    scorer = (tmp_path / "site" / "scorers" / "disco.html").read_text()
    assert "On the toy data set" in scorer
    loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)', scorer)
    assert loaded == [], "a reader's browser would fetch these"
