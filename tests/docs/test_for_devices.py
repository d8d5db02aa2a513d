"""The programs of docs/for-devices.md, as they stand there, against a real broker and agent."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.agents import AgentProcess, serving
from support.broker import Broker
from support.pages_of_docs import ROOT

pytestmark = pytest.mark.system

PAGE = (ROOT / "docs" / "for-devices.md").read_text(encoding="utf-8")
STAND_INS = Path(__file__).parent / "arduino"
LIBRARIES = ("/usr/include/mosquitto.h", "/usr/include/cjson/cJSON.h")
TEXT = "Oxygen was discovered by Carl Wilhelm Scheele in 1773 or earlier."
MAIN = '#include <Arduino.h>\n#include "sketch.ino"\nint main() { setup(); while (true) loop(); }\n'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker with the agent that the page asks."""
    broker = Broker(folder=tmp_path_factory.mktemp("broker")).start()
    folder = tmp_path_factory.mktemp("agent")
    with serving(broker, folder, device="pi5", evaluation_data="off") as agent:
        assert isinstance(agent, AgentProcess)
        yield broker
    broker.stop()


def program(language: str) -> str:
    """The one program of a language on the page."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert isinstance(found, str)
    return found


def replaced(text: str, old: str, new: str) -> str:
    """Exactly one place is another."""
    assert text.count(old) == 1
    return text.replace(old, new)


def test_python_program(site: Broker, tmp_path: Path) -> None:
    script = tmp_path / "ask.py"
    here = f'"127.0.0.1", {site.port}, "pi5"'
    script.write_text(replaced(program("python"), '"localhost", 1883, "pi5"', here))
    ended = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[0].startswith(
        "Who discovered oxygen? Carl Wilhelm Scheele (0.9"
    )
    assert ended.stdout.splitlines()[2] == "refused: empty_question: the question is empty"


@pytest.mark.skipif(shutil.which("jq") is None, reason="apt-get install jq")
def test_shell_program(site: Broker, tmp_path: Path) -> None:
    script = tmp_path / "ask.sh"
    script.write_text(program("bash"))

    def ask(question: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", script, question, TEXT],
            env={"PATH": "/usr/bin:/bin", "BROKER": "127.0.0.1", "PORT": str(site.port)},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    for question in ('Who discovered "oxygen"?', "Who 'discovered'\n$(oxygen)?"):
        answered = ask(question)
        assert answered.returncode == 0, answered.stderr
        assert answered.stdout.startswith("Carl Wilhelm Scheele\t0.")
    refused = ask("")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "empty_question: the question is empty" in refused.stderr


@pytest.mark.skipif(
    shutil.which("g++") is None or not all(Path(one).exists() for one in LIBRARIES),
    reason="apt-get install g++ libmosquitto-dev libcjson-dev",
)
def test_esp32_sketch(site: Broker, tmp_path: Path) -> None:
    sketch = replaced(program("cpp"), "mqtt://192.168.1.10:1883", f"mqtt://127.0.0.1:{site.port}")
    (tmp_path / "sketch.ino").write_text(sketch)
    (tmp_path / "main.cpp").write_text(MAIN)
    subprocess.run(
        ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-I", STAND_INS, "main.cpp",
         "-o", "sketch", "-lmosquitto", "-lcjson", "-lpthread"],
        cwd=tmp_path, check=True, timeout=120,
    )  # fmt: skip
    with subprocess.Popen([tmp_path / "sketch"], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        said = running.stdout.readline()
        running.terminate()
    assert re.fullmatch(r"Carl Wilhelm Scheele \(0\.9\d\)\n", said)
