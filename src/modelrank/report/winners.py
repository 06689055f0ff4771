"""Which models are named first: a scorer that names the same one on every data set may not look at the data."""

from __future__ import annotations

import pandas as pd

from modelrank.report.html import element, table, td, tr

HEADING = "How many different models does each name first?"
CAPTION = (
    "Different models that are first on one or more of the data sets, of how many; the one that is first most often, "
    "and on how many data sets. One that names the same model everywhere may be right without a look at the data."
)
WORDS = ("scorer", "policy", "hub", "protocol")
COLUMNS = {"data sets": "datasets", "winners": "models", "of": "among", "most often": "commonest", "times": "times"}


def section(rows: pd.DataFrame) -> str:
    """rows: those of WORDS that are known, and the values of COLUMNS (fields of `modelrank.ranking.compare.Winners`;
    among: how many models there are)."""
    words = [name for name in WORDS if name in rows]
    body = []
    for one in rows.to_dict("records"):
        cells = [td(str(one[name]), "text") for name in words]
        body.append(tr(cells + [td(str(one[name]), "text" * (name == "commonest")) for name in COLUMNS.values()]))
    content = table(HEADING, [*words, *COLUMNS], [body], text=[*words, "most often"])
    return element("h2", HEADING) + content + element("p", CAPTION, "soft")
