"""What serving costs beyond inference: throughput, latency, start and memory of an agent.

Both sides of a comparison run in turns in one run, on the same questions with the same number of
threads; the figures are medians over rounds.

    python benchmarks/serving.py --data SQUAD.json --threads 1 --threads 2
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Self

import structlog
import typer
from rich.console import Console
from rich.progress import Progress

from edgeqa.broker import BrokerSettings, resolve_broker
from edgeqa.errors import DataError
from edgeqa.manifest import open_package
from edgeqa.mqtt import MqttLink
from edgeqa.packets import Delivery, Outgoing, Subscription
from edgeqa.processes import broker_process, own_process
from edgeqa.squad import read_squad
from edgeqa.topics import DeviceTopics, client_answers
from edgeqa_agent.settings import default_package

DEVICE = "bench"
CLIENTS = 16


def main(
    data: Annotated[
        Path | None, typer.Option(help="SQuAD JSON; the package's check questions if not said.")
    ] = None,
    package: Annotated[Path | None, typer.Option(help="The default package if not said.")] = None,
    threads: Annotated[list[int] | None, typer.Option(help="Of one inference; repeatable.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each side.")] = 25,
    round_s: Annotated[float, typer.Option(min=0.5, help="Length of a turn.")] = 1.5,
    latency_questions: Annotated[int, typer.Option(min=100)] = 1000,
    starts: Annotated[int, typer.Option(min=1)] = 3,
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("bench-out"),
) -> None:
    """Measure, print a table, and write serving.json and serving.md."""
    package = package or default_package()
    questions = _questions(data, package)
    report: dict[str, Any] = {"machine": _machine(), "package": package.name, "runs": []}
    with tempfile.TemporaryDirectory() as name, broker_process(Path(name), 0) as url:
        for count in threads or [1, len(os.sched_getaffinity(0))]:
            bench = _Bench(Path(name), url, package, questions, count)
            report["runs"].append(
                {
                    "threads": count,
                    "throughput": bench.throughput(rounds, round_s),
                    "latency": bench.latency(latency_questions),
                    "start": bench.starts(starts),
                }
            )
    output.mkdir(parents=True, exist_ok=True)
    (output / "serving.json").write_text(json.dumps(report, indent=2) + "\n")
    markdown = _markdown(report)
    (output / "serving.md").write_text(markdown)
    Console(highlight=False).print(markdown)


class _Bench:
    def __init__(
        self, folder: Path, url: str, package: Path, questions: list[dict[str, str]], threads: int
    ) -> None:
        self._folder = folder
        self._url = url
        self._package = package
        self._questions = questions
        self._threads = threads

    @contextmanager
    def _agent(self) -> Iterator[subprocess.Popen[bytes]]:
        settings = {
            "EDGEQA_AGENT_BROKER": self._url,
            "EDGEQA_AGENT_DEVICE": DEVICE,
            "EDGEQA_AGENT_PACKAGE": str(self._package),
            "EDGEQA_AGENT_THREADS": str(self._threads),
            "EDGEQA_AGENT_LOG_FORMAT": "json",
            "EDGEQA_AGENT_ANSWER_CACHE_ENTRIES": "0",
        }
        command = [sys.executable, "-m", "edgeqa.cli", "agent", "run"]
        with own_process(command, self._folder / "agent.log", settings) as process:
            yield process

    def throughput(self, rounds: int, round_s: float) -> dict[str, Any]:
        """Questions per second through the broker and bare, in turns."""
        ours: list[float] = []
        bare: list[float] = []
        bare_side = subprocess.Popen(
            [sys.executable, __file__, "bare", str(self._package), str(self._threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert bare_side.stdin is not None
        assert bare_side.stdout is not None
        bare_side.stdin.write(json.dumps(self._questions) + "\n")
        bare_side.stdin.flush()
        bare_side.stdout.readline()
        with self._agent(), _Load(self._url, CLIENTS, self._questions) as load, Progress() as bar:
            load.wait_online()
            load.run(1.0)
            task = bar.add_task(f"throughput, {self._threads} threads", total=rounds)
            for _ in range(rounds):
                ours.append(load.run(round_s))
                bare_side.stdin.write(f"{round_s}\n")
                bare_side.stdin.flush()
                bare.append(float(bare_side.stdout.readline()))
                bar.advance(task)
        bare_side.stdin.close()
        bare_side.wait()
        ratios = [a / b for a, b in zip(ours, bare, strict=True)]
        return {
            "clients": CLIENTS,
            "ours_per_s": round(statistics.median(ours), 1),
            "bare_per_s": round(statistics.median(bare), 1),
            "ratio": round(statistics.median(ratios), 3),
            "ratio_spread": [round(min(ratios), 3), round(max(ratios), 3)],
            "rounds": rounds,
        }

    def latency(self, questions: int) -> dict[str, Any]:
        """One client: round trip less the inference time that the answer states."""
        with self._agent(), _Load(self._url, 1, self._questions) as load, Progress() as bar:
            load.wait_online()
            load.run(1.0)
            task = bar.add_task(f"latency, {self._threads} threads", total=questions)
            pairs = []
            while len(pairs) < questions:
                load.run(1.0)
                pairs += load.taken
                bar.update(task, completed=len(pairs))
        added = sorted(1000 * seconds - inference for seconds, inference in pairs)
        trips = sorted(1000 * seconds for seconds, _ in pairs)
        return {
            "questions": len(pairs),
            "added_p50_ms": round(_quantile(added, 0.5), 2),
            "added_p99_ms": round(_quantile(added, 0.99), 2),
            "round_trip_p50_ms": round(_quantile(trips, 0.5), 2),
            "round_trip_p99_ms": round(_quantile(trips, 0.99), 2),
        }

    def starts(self, count: int) -> dict[str, Any]:
        """From starting the process to the first answer; then its memory at work."""
        seconds = []
        memory = {}
        for _ in range(count):
            with _Load(self._url, 1, self._questions) as load:
                begun = time.perf_counter()
                with self._agent() as process:
                    load.wait_online()
                    seconds.append(time.perf_counter() - begun)
                    load.run(3.0)
                    memory = _memory(process.pid)
        return {
            "to_first_answer_s": round(statistics.median(seconds), 2),
            "worst_s": round(max(seconds), 2),
            **memory,
        }


class _Load:
    """Clients that each ask the next question when the last is answered."""

    def __init__(self, url: str, clients: int, questions: list[dict[str, str]]) -> None:
        self.taken: list[tuple[float, float]] = []
        self._topics = DeviceTopics(DEVICE)
        self._payloads = itertools.cycle([json.dumps(question).encode() for question in questions])
        self._deadline = 0.0
        self._open = threading.Semaphore(0)
        self._sent: dict[bytes, float] = {}
        broker = resolve_broker(BrokerSettings(broker=url))
        self._links = []
        for _ in range(clients):
            topic = client_answers(uuid.uuid4().hex[:12])
            self._links.append(
                MqttLink(
                    broker=broker,
                    client_id=topic.split("/")[-2],
                    subscriptions=[Subscription(topic, self._handler(topic))],
                    log=structlog.make_filtering_bound_logger(40)(structlog.PrintLogger(), [], {}),
                )
            )

    def __enter__(self) -> Self:
        for link in self._links:
            link.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for link in self._links:
            link.stop()

    def _handler(self, topic: str) -> Any:
        def on_answer(delivery: Delivery) -> None:
            now = time.perf_counter()
            link = self._by_topic[topic]
            begun = self._sent.pop(delivery.correlation or b"", None)
            answer = json.loads(delivery.payload)
            if answer["status"] != "ok":
                raise DataError(f"refused: {answer['error']}")
            link.acknowledge(delivery)
            if begun is not None:
                self.taken.append((now - begun, answer["inference_ms"]))
            if now < self._deadline:
                self._ask(link, topic)
            else:
                self._open.release()

        return on_answer

    @property
    def _by_topic(self) -> dict[str, MqttLink]:
        return {link._subscriptions[0].topic_filter: link for link in self._links}  # noqa: SLF001

    def _ask(self, link: MqttLink, topic: str) -> None:
        correlation = os.urandom(8)
        self._sent[correlation] = time.perf_counter()
        link.publish(
            Outgoing(
                self._topics.ask,
                next(self._payloads),
                response_topic=topic,
                correlation=correlation,
            )
        )

    def run(self, seconds: float) -> float:
        """Ask for a while; answers per second, until the last open question is answered."""
        self.taken = []
        begun = time.perf_counter()
        self._deadline = begun + seconds
        for topic, link in self._by_topic.items():
            self._ask(link, topic)
        for _ in self._links:
            if not self._open.acquire(timeout=60):
                raise DataError("a question was not answered within 60 s")
        return len(self.taken) / (time.perf_counter() - begun)

    def wait_online(self) -> None:
        """Ask one question until somebody answers it."""
        topic, link = next(iter(self._by_topic.items()))
        self._deadline = 0.0
        give_up = time.perf_counter() + 30
        while time.perf_counter() < give_up:
            heard = threading.Event()
            unheard = threading.Event()

            def told(
                reason: str | None, heard: threading.Event = heard, un: threading.Event = unheard
            ) -> None:
                (un if reason else heard).set()

            correlation = os.urandom(8)
            self._sent[correlation] = time.perf_counter()
            link.publish(
                Outgoing(
                    self._topics.ask, next(self._payloads),
                    response_topic=topic, correlation=correlation,
                ),
                told,
            )  # fmt: skip
            while not (heard.wait(0.005) or unheard.is_set()):
                pass
            if heard.is_set() and self._open.acquire(timeout=60):
                return
        raise DataError("the agent does not come online")


def bare(package: Path, threads: int) -> None:
    """The other side: onnxruntime alone, on inputs that are tokenised beforehand."""
    import onnxruntime as ort

    from edgeqa.reader.engine import OUTPUTS, Engine

    engine = Engine.load(open_package(package), threads=threads)
    feeds = [
        [engine.feeds(window) for window in engine.prepare(q["question"], q["context"]).windows]
        for q in json.loads(sys.stdin.readline())
    ]
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(
        str(package / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    for windows in feeds[:50]:
        session.run(OUTPUTS, windows[0])
    print("ready", flush=True)
    cycle = itertools.cycle(feeds)
    for line in sys.stdin:
        begun = time.perf_counter()
        done = 0
        while time.perf_counter() - begun < float(line):
            for window in next(cycle):
                session.run(OUTPUTS, window)
            done += 1
        print(done / (time.perf_counter() - begun), flush=True)


def _questions(data: Path | None, package: Path) -> list[dict[str, str]]:
    if data is None:
        rows = open_package(package).checks()
        return [{"question": row.question, "context": row.context} for row in rows]
    examples = read_squad(data)
    # Every so manyth, so that all articles are in: the same questions on every machine.
    step = max(1, len(examples) // 500)
    return [{"question": e.question, "context": e.context} for e in examples[::step]]


def _memory(pid: int) -> dict[str, float]:
    """Resident and proportional set sizes of the agent and its children, MiB."""
    pids = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        pids += [int(child) for child in (task / "children").read_text().split()]
    totals = {"Rss": 0, "Pss": 0}
    for one in pids:
        for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in totals:
                totals[name] += int(value.split()[0])
    return {
        "processes": len(pids),
        "rss_mib": round(totals["Rss"] / 1024, 1),
        "pss_mib": round(totals["Pss"] / 1024, 1),
    }


def _machine() -> dict[str, Any]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _markdown(report: dict[str, Any]) -> str:
    machine = report["machine"]
    lines = [
        f"{report['package']} on {machine['cpu']}, {machine['cores']} cores, Python "
        + machine["python"],
        "",
        "| threads | through the broker | bare onnxruntime | ratio | added p50 | added p99 "
        "| first answer | resident |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in report["runs"]:
        rate, delay, start = run["throughput"], run["latency"], run["start"]
        lines.append(
            f"| {run['threads']} | {rate['ours_per_s']}/s | {rate['bare_per_s']}/s "
            f"| {rate['ratio']} | {delay['added_p50_ms']} ms | {delay['added_p99_ms']} ms "
            f"| {start['to_first_answer_s']} s | {start['rss_mib']} MiB |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["bare"]:
        bare(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        typer.run(main)
