"""Progress: one line that grows on a terminal, a few plain lines in a log."""

from django.core.management.base import OutputWrapper

WIDTH = 30


class Progress:
    """Shows how far one run is."""

    def __init__(self, out: OutputWrapper, label: str, total: int) -> None:
        self.out = out
        self.label = label
        self.total = total
        self.done = 0
        self.shown = 0

    def advance(self, note: str) -> None:
        """Count one more, and show it: always on a terminal, else each tenth of the way."""
        self.done += 1
        if self.out.isatty():
            bar = "█" * (WIDTH * self.done // self.total)
            end = "\n" if self.done == self.total else ""
            self.out.write(f"\r  {self.label:<14} {bar:░<{WIDTH}} {self.count} {note}", ending=end)
            self.out.flush()
        elif 10 * self.done // self.total > self.shown:
            self.shown = 10 * self.done // self.total
            self.out.write(f"  {self.label:<14} {self.count} {note}")
            self.out.flush()

    @property
    def count(self) -> str:
        """How many of how many."""
        return f"{self.done:>{len(str(self.total))}}/{self.total} purchases"
