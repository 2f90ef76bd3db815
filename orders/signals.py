"""How outcomes leave this app: it never imports those who hold the reservations' records."""

from django.dispatch import Signal

# kwargs: decided: list[orders.events.Decided]; sent after the judge's commit.
entries_decided = Signal()

# kwargs: outcomes: list[orders.events.Outcome]; sent after a commit in which units of an order changed sides.
outcomes_due = Signal()

# kwargs: sale_ids: list[int]; the judge refused for stock or limit, so Valkey and database disagree.
judge_disagreed = Signal()
