"""Every command and program of docs/device.md, over a real broker."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.broker import Broker
from support.fake_agent import FakeAgent

PAGE = (Path(__file__).parents[2] / "docs" / "device.md").read_text(encoding="utf-8")
BLOCKS = re.findall(
    r"^```(sh|python micropython|python)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
)

# What the examples need of MicroPython, over paho: umqtt.simple as MQTT 3.1.1 and bytes only.
MICROPYTHON = """
import sys, time, types
import paho.mqtt.client as paho

time.ticks_ms = lambda: int(time.monotonic() * 1000)
time.ticks_diff = lambda a, b: a - b
time.sleep_ms = lambda ms: time.sleep(ms / 1000)

class MQTTClient:
    def __init__(self, client_id, server, port=0, user=None, password=None, keepalive=0, ssl=None):
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=client_id.decode(), protocol=paho.MQTTv311
        )
        self.where = (server, port, keepalive)
        self.acked = set()
        self.client.on_publish = lambda c, d, mid, *rest: self.acked.add(mid)
        self.client.on_subscribe = lambda c, d, mid, *rest: self.acked.add(mid)
    def set_callback(self, callback):
        def on_message(c, d, message):
            callback(message.topic.encode(), message.payload)
        self.client.on_message = on_message
    def connect(self, clean_session=True):
        self.client.connect(*self.where)
        while not self.client.is_connected():
            self.client.loop(0.01)
    def _wait(self, mid):
        while mid not in self.acked:
            self.client.loop(0.01)
    def subscribe(self, topic, qos=0):
        assert isinstance(topic, bytes)
        self._wait(self.client.subscribe(topic.decode(), qos)[1])
    def publish(self, topic, msg, retain=False, qos=0):
        assert isinstance(topic, bytes) and isinstance(msg, bytes)
        self._wait(self.client.publish(topic.decode(), msg, qos, retain).mid)
    def check_msg(self):
        self.client.loop(0)
    def disconnect(self):
        self.client.disconnect()
        self.client.loop(0.01)

package, module = types.ModuleType("umqtt"), types.ModuleType("umqtt.simple")
module.MQTTClient = MQTTClient
sys.modules |= {"umqtt": package, "umqtt.simple": module}
"""


def blocks(kind: str) -> list[str]:
    return [code for one, code in BLOCKS if one == kind]


def run(command: list[str], broker: Broker) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | {"BROKER": "127.0.0.1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_shell(code: str, broker: Broker) -> str:
    at_broker = code.replace("-h $BROKER", f"-h 127.0.0.1 -p {broker.port}")
    return run(["sh", "-e", "-c", at_broker.replace("sleep 1", "sleep 0.3")], broker)


def run_python(code: str, broker: Broker) -> str:
    at_broker = code.replace("localhost:1883", f"127.0.0.1:{broker.port}")
    at_broker = at_broker.replace('"localhost"', '"127.0.0.1"').replace(
        "PORT = 1883", f"PORT = {broker.port}"
    )
    return run([sys.executable, "-W", "error", "-c", at_broker], broker)


def test_the_page_has_its_blocks() -> None:
    assert len(blocks("sh")) == 8
    assert len(blocks("python")) == 2
    assert len(blocks("python micropython")) == 1


@pytest.mark.parametrize("number", range(8))
def test_shell_commands(broker: Broker, number: int) -> None:
    code = blocks("sh")[number]
    with FakeAgent(broker.address(), groups=("hall",)) as agent:
        shown = run_shell(code, broker)
        if "-m '{" in code:
            answer = json.loads(shown)
            assert answer["status"] == "ok", answer
            assert answer["id"] in code
        elif "/status" in code:
            assert json.loads(shown)["status"] == "online"
        elif " -n " in code:
            assert agent.changed.wait(5)


def test_python_programs(broker: Broker) -> None:
    plain, asynchronous = blocks("python")
    with FakeAgent(broker.address(), groups=("hall",)):
        lines = run_python(plain, broker).splitlines()
        assert lines[0] == "0.90 Oxygen"
        assert lines[1].startswith("unknown_context ")
        assert lines[2:] == ["Oxygen", "Oxygen", "20", "online"]
        assert run_python(asynchronous, broker).splitlines() == ["Oxygen", "Oxygen"]


def test_the_micropython_program(broker: Broker) -> None:
    [code] = blocks("python micropython")
    with FakeAgent(broker.address()) as agent:
        assert run_python(MICROPYTHON + code, broker) == "Oxygen\n"
        assert agent.asked[0].response_topic is None
        began = time.monotonic()
        agent.stop()
        silent = code.replace("timeout_ms=10000", "timeout_ms=200")
        assert run_python(MICROPYTHON + silent, broker) == "no answer\n"
        assert time.monotonic() - began < 10
