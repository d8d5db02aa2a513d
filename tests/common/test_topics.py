"""Topics are built and parsed without surprises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeqa import topics
from edgeqa.errors import PayloadError
from edgeqa.topics import DeviceTopics, check_response_topic


def test_topics_are_those_of_the_contract() -> None:
    device = DeviceTopics("pi5")
    assert device.ask == "edgeqa/v1/devices/pi5/ask"
    assert device.answers == "edgeqa/v1/devices/pi5/answers"
    assert device.status == "edgeqa/v1/devices/pi5/status"
    assert device.context("a") == "edgeqa/v1/devices/pi5/contexts/a"
    assert topics.group_ask_filter("hall") == "$share/hall/edgeqa/v1/groups/hall/ask"


def test_answers_of_a_user_are_below_that_user() -> None:
    assert topics.client_answers("c1") == "edgeqa/v1/clients/c1/answers"
    assert topics.client_answers("c1", user="phone") == "edgeqa/v1/clients/phone/c1/answers"
    for strange in ("a/b", "+", "#", ""):
        assert topics.client_answers("c1", user=strange) == "edgeqa/v1/clients/c1/answers"


def test_a_context_id_is_found_again_and_only_there() -> None:
    device = DeviceTopics("pi5")
    assert device.context_id(device.context("manual")) == "manual"
    assert device.context_id(device.ask) is None
    assert device.context_id(DeviceTopics("pi").context("manual")) is None


@given(st.text(max_size=80))
def test_a_name_is_one_plain_topic_level(name: str) -> None:
    if topics.is_name(name):
        assert 1 <= len(name) <= 64
        assert name.isascii()
        assert not set(name) & set("/+#$ \n\0")


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "a b", ".hidden", "a\n", "é", "a" * 65])
def test_what_is_no_name(name: str) -> None:
    assert not topics.is_name(name)


@pytest.mark.parametrize(
    "topic", ["reply/to/me", "edgeqa/v1/clients/x/answers", "edgeqax", "a" * 1024, "é/ü"]
)
def test_response_topics_that_are_fine(topic: str) -> None:
    assert check_response_topic(topic) == topic


@pytest.mark.parametrize(
    "topic",
    ["", "a/+/b", "a/#", "$SYS/x", "$share/g/x", "a\0b", "a\nb", "a" * 1025, "é" * 513,
     "edgeqa/v1/devices/pi5/ask", "edgeqa/v1/devices/pi5/status"],
)  # fmt: skip
def test_response_topics_that_are_not(topic: str) -> None:
    with pytest.raises(PayloadError) as caught:
        check_response_topic(topic)
    assert caught.value.code == "invalid_response_topic"
