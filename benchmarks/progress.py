"""One line on the terminal that tells what is being done."""

import sys
import time

_WIDTH = 100


class Progress:
    """Says on standard error what goes on; quiet where that is not a terminal, but for what begins."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._is_terminal = sys.stderr.isatty()
        self._part = ""

    def begin(self, part: str) -> None:
        """Say that a part begins."""
        self._part = part
        self.clear()
        print(f"{self._elapsed()} {part}", file=sys.stderr, flush=True)

    def say(self, what: str) -> None:
        """Say what goes on within the part, in place of what was said before."""
        if self._is_terminal:
            line = f"{self._elapsed()} {self._part}: {what}"
            print(f"\r{line[:_WIDTH]:<{_WIDTH}}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._is_terminal:
            print(f"\r{'':<{_WIDTH}}\r", end="", file=sys.stderr, flush=True)

    def _elapsed(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        return f"{minutes:2d}:{seconds:02d}"
