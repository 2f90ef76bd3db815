"""Judges a trial's history: `python -m tests.chaos.oracle --history FILE`, with the environment of its stack.

Prints a line a check, breaches first; exits 1 on any breach.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import django

from tests.chaos.history import history_read


def main(words: Sequence[str]) -> int:
    """Judge the history that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.oracle", description=__doc__)
    parser.add_argument("--history", type=Path, required=True)
    history = history_read(parser.parse_args(words).history)
    django.setup()
    from tests.chaos.judgement import judge, report
    from tests.load.verdict import exit_code

    checks = judge(history)
    sys.stdout.write(f"{history.label}\n{report(checks)}\n")
    return exit_code(checks)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
