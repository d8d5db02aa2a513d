"""The table of docs/access-rules.md, as what is allowed and what is not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgeqa.identity.roles import Role

PAGE = Path(__file__).parents[2] / "docs" / "access-rules.md"
PUBLISH, READ = "publish", "read"
ACTIONS = (PUBLISH, READ)
_WORDS = {"publishes": PUBLISH, "reads": READ}
# What a row says that has no topic of its own.
_ELSE_OF_EDGEQA = "anything else below `edgeqa/v1/`"
_ELSE = "everything else"
# Values of the placeholders beside a name.
_VALUES = {"group": "hall", "context_id": "c1", "client_id": "edgeqa-1", "verb": "ping"}
OTHERS = {
    _ELSE_OF_EDGEQA: [
        "edgeqa/v1/devices/{name}",
        "edgeqa/v1/devices/{name}/ask/more",
        "edgeqa/v1/devices/{name}/contexts",
        "edgeqa/v1/devices/{name}/contexts/c1/more",
        "edgeqa/v1/devices/{name}/commands",
        "edgeqa/v1/devices/{name}/commands/ping/more",
        "edgeqa/v1/devices/{name}/model",
        "edgeqa/v1/devices/{name}/model/desired/more",
        "edgeqa/v1/devices/{name}/status/more",
        "edgeqa/v1/devices/{name}/certificate",
        "edgeqa/v1/devices/{name}/home-assistant",
        "edgeqa/v1/devices/{name}/home-assistant/other",
        "edgeqa/v1/devices/{name}/unknown",
        "edgeqa/v1/clients/{name}",
        "edgeqa/v1/clients/{name}/edgeqa-1",
        "edgeqa/v1/clients/{name}/a/b/answers",
        "edgeqa/v1/groups/hall",
        "edgeqa/v1/groups/hall/answers",
        "edgeqa/v1/services/{name}/answers",
    ],
    _ELSE: [
        "edgeqa",
        "edgeqa/devices/{name}/status",
        "edgeqa/v2/devices/{name}/status",
        "devices/{name}/status",
        "{name}",
        "/edgeqa/v1/devices/{name}/status",
        "homeassistant/device/{name}/config",
        "homeassistant/device/edgeqa/{name}/config/more",
        "homeassistant/sensor/{name}/config",
        "my-site/answers",
    ],
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that somebody does.

    Attributes:
        own: whether the name in the topic is his; None: there is none in it.
    """

    role: Role
    action: str
    topic: str
    own: bool | None
    allowed: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    topic: str
    cells: dict[Role, dict[str, bool]]  # action to whether it is for the own name alone

    def allowed(self, role: Role, action: str, own: bool | None) -> bool:
        only_own = self.cells[role].get(action)
        return only_own is False or (only_own is True and own is True)


@cache
def rows() -> tuple[Row, ...]:
    """Of the page.

    Raises:
        ValueError: a cell says something else than it can.
    """
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = lines.index("| topic | device | client | service |") + 2
    table = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        topic, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        table.append(
            Row(topic, {role: _cell(cell) for role, cell in zip(Role, cells, strict=True)})
        )
    return tuple(table)


def _cell(text: str) -> dict[str, bool]:
    if text == "—":
        return {}
    found = {}
    for part in text.split(", "):
        word, _, only = part.partition(" ")
        if word not in _WORDS or only not in {"", "own"}:
            raise ValueError(f"a cell of the table says {text!r}")
        found[_WORDS[word]] = only == "own"
    return found


def templates(row: Row) -> list[str]:
    """Topics to try a row with, `{name}` yet to be filled in."""
    if row.topic in OTHERS:
        return OTHERS[row.topic]
    topic = re.match(r"`([^`]+)`", row.topic)
    if topic is None:
        raise ValueError(f"a row of the table has no topic: {row.topic!r}")
    return [re.sub(r"\{(\w+)\}", lambda m: _VALUES.get(m[1], m[0]), topic[1])]


def cases(role: Role, name: str, other: str) -> list[Case]:
    """All that the table says of a role, for somebody called `name`."""
    found = []
    for row in rows():
        for template in templates(row):
            owners = [(True, name), (False, other)] if "{name}" in template else [(None, "")]
            for own, whose in owners:
                topic = template.format(name=whose)
                found += [
                    Case(role, action, topic, own, row.allowed(role, action, own))
                    for action in ACTIONS
                ]
    return found
