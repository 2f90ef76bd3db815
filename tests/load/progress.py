"""How far a run is: one changing line on a terminal, a line every 10 % elsewhere."""

import time
from typing import TextIO


class Progress:
    """Prints done/total, rate and time left; nothing when quiet."""

    def __init__(self, *, total: int, seconds: float, stream: TextIO, quiet: bool = False) -> None:
        self.total, self.seconds, self.stream, self.quiet = total, seconds, stream, quiet
        self._live = stream.isatty()
        self._started = time.monotonic()
        self._tenths = 0

    def start(self) -> None:
        """Count the time from now."""
        self._started = time.monotonic()

    def show(self, done: int) -> None:
        """Tell that `done` requests are finished; cheap enough to call often."""
        elapsed = max(time.monotonic() - self._started, 1e-3)
        # A run ends at its requests or at its time, whichever is first.
        share = min(max(done / self.total, elapsed / self.seconds if self.seconds else 0.0), 1.0)
        tenths = int(share * 10)
        if self.quiet or (not self._live and tenths <= self._tenths):
            return
        self._tenths = tenths
        left = elapsed / share - elapsed if share else 0.0
        line = f"{done}/{self.total}  {done / elapsed:.0f}/s  {left:.0f} s left"
        print(f"\r{line:<60}" if self._live else f"{tenths * 10:3} %  {line}", end="", file=self.stream)
        if not self._live:
            print(file=self.stream)
        self.stream.flush()

    def end(self) -> None:
        """Leave the terminal's line."""
        if self._live and not self.quiet:
            print(file=self.stream, flush=True)
