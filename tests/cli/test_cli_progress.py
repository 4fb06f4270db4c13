"""What a command says of how far it is, where no terminal shows a bar."""

from __future__ import annotations

import pytest

from cht_sync.cli.progress import TELL_EVERY, Lines


def test_lines_come_now_and_then_and_are_only_made_when_they_come(
    capsys: pytest.CaptureFixture[str],
) -> None:
    moments = [100.0]
    made: list[str] = []

    def words() -> str:
        made.append(f"at {moments[-1]:.0f}")
        return made[-1]

    lines = Lines(lambda: moments[-1])
    for passed in (0.5, 0.9, 1, 1.5, 2):
        moments.append(100.0 + passed * TELL_EVERY)
        lines.tell(words)
    assert capsys.readouterr().err.splitlines() == made == ["at 110", "at 120"]
