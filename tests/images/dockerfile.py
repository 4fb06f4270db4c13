"""A Dockerfile as stages of instructions; enough of the language for ours."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PRODUCT = sorted(CHECKOUT.glob("*/Dockerfile"))
STAND_INS = sorted((CHECKOUT / "tests/docker/images").glob("*/Dockerfile"))


@dataclass
class Stage:
    """One FROM and what follows it, as (instruction, words)."""

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        """The words of every such instruction."""
        return [words for name, words in self.instructions if name == instruction]


@dataclass
class Dockerfile:
    """Global arguments with their defaults, and the stages by name, in order; unnamed ones by number."""

    arguments: dict[str, str]
    stages: dict[str, Stage]

    def inherited(self, stage: Stage, instruction: str) -> list[str]:
        """The words of every such instruction of a stage and of those that it starts from."""
        before = self.stages.get(stage.base)
        return (self.inherited(before, instruction) if before else []) + stage.all(instruction)

    @property
    def images(self) -> list[Stage]:
        """The stages that end as an image: those that nothing is copied from, nor started from."""
        copied = {
            name
            for stage in self.stages.values()
            for words in stage.all("COPY")
            for name in re.findall(r"--from=(\S+)", words)
        }
        started = {stage.base for stage in self.stages.values()}
        return [stage for stage in self.stages.values() if stage.name not in copied | started]


def read(path: Path) -> Dockerfile:
    """Parse a Dockerfile; comments are dropped, continued lines joined."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        instruction, words = line.split(maxsplit=1)
        if instruction == "FROM":
            base, _, name = words.partition(" AS ")
            stage = Stage(base, name or str(len(stages)))
            stages[stage.name] = stage
        elif stages:
            stage.instructions.append((instruction, " ".join(words.split())))
        else:
            name, _, default = words.partition("=")
            arguments[name] = default
    return Dockerfile(arguments, stages)
