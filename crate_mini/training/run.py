"""What a training leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Run:
    """One row of numbers for each epoch: ``epoch, lr, train_loss``, what was measured as ``val_*``, ``seconds``.

    After an epoch that was not evaluated (``Recipe.evaluate_every``) its ``val_*`` are None.
    """

    history: list[dict[str, int | float | None]] = field(default_factory=list)

    @property
    def minutes(self) -> float:
        """Wall-clock minutes spent in finished epochs, evaluation included."""
        return sum(row["seconds"] for row in self.history) / 60

    def __getitem__(self, column: str) -> list[int | float | None]:
        return [row[column] for row in self.history]
