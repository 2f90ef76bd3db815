"""The clients' own record of one trial, as the oracle reads it from a file."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.load.outcomes import History


@dataclass
class TrialHistory:
    """One trial. Accounts are positions in user_ids; counters by account have text keys, as JSON wants.

    trails: every change of status that was seen, by reservation. finals: the last status of each.
    terminal_seconds: from healing until all were won or lost. repeats: what a repeated key was answered otherwise.
    outcomes: answers to reservations by outcome. broken: other answers that a client must never get.
    """

    label: str
    campaign_id: int
    product_id: int
    stock_before: int
    allotment: int
    user_ids: list[int]
    settle_deadline_seconds: float
    accepted: list[tuple[str, int]] = field(default_factory=list)
    decided: dict[str, int] = field(default_factory=dict)
    open_ended: dict[str, int] = field(default_factory=dict)
    unanswered: int = 0
    trails: dict[str, list[str]] = field(default_factory=dict)
    finals: dict[str, str] = field(default_factory=dict)
    terminal_seconds: float = 0.0
    repeats: list[str] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)
    kafka_offsets: dict[str, int] = field(default_factory=dict)

    def clients(self, history: History) -> None:
        """Take over what the load driver's recorder noted."""
        self.accepted = [*history.accepted]
        self.decided = {str(account): count for account, count in history.decided.items()}
        self.open_ended = {str(account): count for account, count in history.open_ended.items()}
        self.unanswered = history.unanswered

    def as_load_history(self) -> History:
        """Return it as the load driver's verdict wants it."""
        return History(
            accepted=[(name, account) for name, account in self.accepted],
            decided=Counter({int(account): count for account, count in self.decided.items()}),
            open_ended=Counter({int(account): count for account, count in self.open_ended.items()}),
            unanswered=self.unanswered,
        )


def history_write(path: Path, history: TrialHistory) -> None:
    """Write the history as JSON."""
    path.write_text(json.dumps(asdict(history), indent=1))


def history_read(path: Path) -> TrialHistory:
    """Read what history_write wrote."""
    return TrialHistory(**json.loads(path.read_text()))
