"""Lines that say how far it is, on standard error, so that the tables can be piped."""

import sys


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
