"""The command of a clone: `python run.py [group=option ...]`; installed it is `modelrank`, see modelrank.__main__."""

from modelrank.__main__ import run

if __name__ == "__main__":
    run()
