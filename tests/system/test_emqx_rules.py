"""The EMQX rules of docs/emqx.md say what the table says that Mosquitto is tried with.

EMQX itself does not run here: its rules are read as its documentation says that it reads them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from paho.mqtt.client import topic_matches_sub
from support.access_table import PUBLISH, READ, cases

from edgeqa.identity.roles import PORTS, Role

PAGE = Path(__file__).parents[2] / "docs" / "emqx.md"
_RULE = re.compile(
    r'^\{allow, \{listener, "ssl:(\w+)"\}, (\w+), \[(.*?)\]\}\.$', re.MULTILINE | re.DOTALL
)
_ACTIONS = {"publish": PUBLISH, "subscribe": READ}
NAME, OTHER = "pi-1", "pi-2"


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rules(page: str) -> dict[tuple[Role, str], list[str]]:
    """Topic filters of a role and an action."""
    text = page.partition("```erlang\n")[2].partition("```")[0]
    whole = re.sub(r"^%%.*\n", "", text, flags=re.MULTILINE)
    found = {
        (Role(listener), _ACTIONS[action]): re.findall(r'"([^"]+)"', filters)
        for listener, action, filters in _RULE.findall(whole)
    }
    # Nothing else stands there but the end.
    assert _RULE.sub("", whole).split() == ["{deny,", "all}."]
    return found


@pytest.mark.parametrize("role", list(Role))
def test_each_cell_of_the_table_is_as_the_rules_say(
    rules: dict[tuple[Role, str], list[str]], role: Role
) -> None:
    for case in cases(role, NAME, OTHER):
        filters = [one.replace("${username}", NAME) for one in rules[role, case.action]]
        allowed = any(topic_matches_sub(one, case.topic) for one in filters)
        assert allowed is case.allowed, case


@pytest.mark.parametrize("role", list(Role))
def test_no_rule_is_for_nothing(rules: dict[tuple[Role, str], list[str]], role: Role) -> None:
    for action in (PUBLISH, READ):
        wanted = [
            case.topic
            for case in cases(role, NAME, OTHER)
            if case.allowed and case.action == action
        ]
        for one in rules[role, action]:
            rule = one.replace("${username}", NAME)
            assert any(topic_matches_sub(rule, topic) for topic in wanted), one


def test_each_listener_asks_for_a_certificate_of_its_role(page: str) -> None:
    for role in Role:
        listener = page.partition(f"listeners.ssl.{role} {{\n")[2].partition("\n}\n")[0]
        assert f'bind = "0.0.0.0:{PORTS[role]}"' in listener
        assert f"{role}-ca.crt" in listener
        assert "verify = verify_peer" in listener
        assert "fail_if_no_peer_cert = true" in listener
