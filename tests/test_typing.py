"""The Python API is typed completely, for those who check their own code against it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow  # pyright reads torch, pandas and all of the package for it
def test_every_name_of_the_api_page_has_a_known_type():
    beside = Path(sys.executable).parent  # pyright takes the packages of the `python` that it finds
    environment = os.environ | {"PATH": f"{beside}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}
    command = [str(beside / "pyright"), "--verifytypes", "modelrank", "--ignoreexternal", "--outputjson"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    pages = re.findall(r"^::: (\S+)", (ROOT / "docs" / "reference" / "api.md").read_text(), re.M)
    found = {}
    for symbol in json.loads(done.stdout)["typeCompleteness"]["symbols"]:
        if symbol["name"].startswith(tuple(pages)):
            found[symbol["name"]] = [one["message"] for one in symbol["diagnostics"] if one["severity"] == "error"]
    assert {"modelrank.api.rank", "modelrank.types.Ranking.best", "modelrank.ranking.agreement.null_level"} <= set(
        found
    )
    foreign = "modelrank.selector.ModelSelector"  # its bases are scikit-learn's, which is not typed
    assert set(found.pop(foreign)) <= {"Type of metaclass unknown", "Type of base class unknown"}
    assert {name: said for name, said in found.items() if said} == {}
