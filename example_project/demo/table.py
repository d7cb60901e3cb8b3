"""The demo's table."""

from example_project.demo.run import Result


def table(without: Result, with_keys: Result) -> str:
    """Set both runs side by side."""
    rows = [("", "without keys", "with keys")]
    rows += [(title, show(getattr(without, name)), show(getattr(with_keys, name))) for title, name in ROWS]
    return "\n".join(f"  {title:<36}{left:>14}{right:>14}" for title, left, right in rows)


ROWS = (
    ("purchases made by customers", "purchases"),
    ("requests sent", "requests"),
    ("answers lost", "lost"),
    ("answers replayed", "replayed"),
    ("told to wait (409)", "told_to_wait"),
    ("server errors (5xx)", "server_errors"),
    ("server processes killed in a charge", "killed"),
    ("charges made", "charges"),
    ("charged twice or more", "twice"),
    ("missing", "missing"),
    ("double clicks told different charges", "disagreeing"),
    ("money taken too much", "overcharged"),
    ("balances add up", "adds_up"),
)


def show(value: object) -> str:
    """Write a cell."""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:,}"
