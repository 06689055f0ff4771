"""`python -m modelrank.truth.vouch FILE ...`: give the rows of ledgers that have no digest theirs (see `ledger`)."""

import sys
from pathlib import Path

from modelrank.truth.ledger import vouch
from modelrank.types import ModelRankError

if __name__ == "__main__":
    for name in sys.argv[1:]:
        try:
            print(f"{name}: {vouch(Path(name))} rows got their digest")
        except ModelRankError as error:
            sys.exit(f"modelrank: {error}")
