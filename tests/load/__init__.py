"""The load driver: `python -m tests.load --help`."""
