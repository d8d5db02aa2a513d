"""`package` and `show`, run as people run them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.reports import make_report
from support.tiny import questions
from support.workshop import edgeqa

from edgeqa.files import sha256_hex
from edgeqa.manifest import open_package
from edgeqa_models.draft import open_measurable

DEFAULT = Path(__file__).parents[2] / "models" / "packages" / "minilm-l6-squad-0.1.2"


def write_report(path: Path, precision: str, draft: Path | None, **scores: float) -> Path:
    digest = sha256_hex(draft / "model.onnx") if draft else "4" * 64
    path.write_text(make_report(precision, digest, **scores).model_dump_json(by_alias=True))
    return path


@pytest.fixture
def command(fp32: Path, int8: Path, tmp_path: Path) -> list[object]:
    """`package` of the tiny int8 draft with its reports, the int8 2.5 points of F1 worse."""
    work = tmp_path / "in"
    work.mkdir()
    engine = open_measurable(int8, threads=1).engine
    rows = [(q, c, engine.answer(q, c).spans[0].text) for q, c, _, _ in questions(3)]
    checks = [{"question": q, "context": c, "answers": [answer]} for q, c, answer in rows]
    (work / "checks.json").write_text(json.dumps(checks))
    (work / "training.json").write_text(
        json.dumps({"base": "b", "base_licence": "l", "data": [], "recipe": {}})
    )
    return [
        *("package", int8, "--name", "tiny", "--version", "0.0.1", "--output", tmp_path / "out"),
        *("--report", write_report(work / "int8.json", "int8", int8, f1=77.5)),
        *("--fp32-report", write_report(work / "fp32.json", "fp32", fp32)),
        *("--variant-report", write_report(work / "fp16.json", "fp16", None, exact_match=69.9)),
        *("--variant-report", write_report(work / "block.json", "int8-block", None)),
        *("--training", work / "training.json", "--checks", work / "checks.json"),
    ]


def test_a_loss_is_refused_then_forced_and_then_seen_everywhere(
    command: list[object], tmp_path: Path
) -> None:
    done = edgeqa(*command)
    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr.count("\n") == 1
    assert "2.50 below" in done.stderr
    assert "[quality_lost]" in done.stderr
    assert not list(tmp_path.glob("out/*"))

    done = edgeqa(*command, "--force", " ")
    assert done.returncode == 2
    assert "[usage]" in done.stderr

    done = edgeqa(*command, "--force", "only for the drill of 3 May")
    assert done.returncode == 0, done.stderr
    forced = "FORCED although it loses 2.50 points of F1 (allowed 0.50)"
    assert forced in done.stderr

    folder = tmp_path / "out" / "tiny-0.0.1"
    shown = edgeqa("show", folder)
    assert shown.returncode == 0
    assert forced in shown.stdout
    assert "only for the drill of 3 May" in shown.stdout
    table = [line.split() for line in shown.stdout.splitlines()]
    first = {row[0]: row for row in table if row}
    order = ["variant", "fp32", "fp16", "int8-block", "int8"]
    assert [name for name in first if name in order] == order
    assert first["int8"][1:4] == ["*", "70.00", "65.00-75.00"]
    assert first["fp16"][1:3] == ["69.90", "64.90-74.90"]
    assert "measured on 24 questions of tiny, 1 thread(s) on test" in shown.stdout

    as_json = json.loads(edgeqa("show", folder, "--json").stdout)
    assert as_json["digest"] == open_package(folder).digest
    assert as_json["manifest"]["forced"]["reason"] == "only for the drill of 3 May"
    assert [card["variant"] for card in as_json["manifest"]["cards"]] == [
        *("fp32", "fp16", "int8-block", "int8")
    ]
    checked = edgeqa("check", folder, "--checks", tmp_path / "in" / "checks.json")
    assert checked.returncode == 0
    assert forced in checked.stderr


def test_force_without_need_is_said_and_not_recorded(command: list[object], tmp_path: Path) -> None:
    done = edgeqa(*command, "--max-f1-loss", 3, "--force", "to be sure")
    assert done.returncode == 0, done.stderr
    assert "--force is not recorded" in done.stderr
    assert open_package(tmp_path / "out" / "tiny-0.0.1").manifest.forced is None


def test_show_reads_packages_without_cards(tmp_path: Path) -> None:
    older = shutil.copytree(DEFAULT, tmp_path / "p")
    manifest = json.loads((older / "manifest.json").read_text())
    del manifest["cards"], manifest["forced"]
    (older / "manifest.json").write_text(json.dumps(manifest))
    done = edgeqa("show", older)
    assert done.returncode == 0
    assert open_package(older).digest in done.stdout
    assert "int8: EM 70.25, F1 80.10 on 4961 questions" in done.stdout
    assert "baseline  p50" in done.stdout


def test_show_refuses_what_is_no_sound_package(tmp_path: Path) -> None:
    broken = shutil.copytree(DEFAULT, tmp_path / "p")
    (broken / "tokenizer.json").write_text("{}")
    for folder, code in ((tmp_path / "none", "package_malformed"), (broken, "digest_mismatch")):
        done = edgeqa("show", folder)
        assert (done.returncode, done.stdout) == (5, "")
        assert done.stderr.count("\n") == 1
        assert f"[{code}]" in done.stderr


def test_what_a_manifest_says_cannot_drive_the_terminal(tmp_path: Path) -> None:
    hostile = shutil.copytree(DEFAULT, tmp_path / "p")
    manifest = json.loads((hostile / "manifest.json").read_text())
    manifest["licence"] = "\x1b[2J\x07free\nFORCED nothing"
    manifest["training"]["base"] = "\x9b31m"
    (hostile / "manifest.json").write_text(json.dumps(manifest))
    done = edgeqa("show", hostile)
    assert done.returncode == 0
    assert not {"\x1b", "\x07", "\x9b"} & set(done.stdout)
    assert not any(line.startswith("FORCED") for line in done.stdout.splitlines())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB; only root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("may not mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_leaves_no_half_package(command: list[object], small_disk: Path) -> None:
    place = command.index("--output") + 1
    done = edgeqa(*command[:place], small_disk, *command[place + 1 :], "--force", "a test")
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "the disk is full [output_unwritable]" in done.stderr
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("option", ["--report", "--fp32-report", "--variant-report", "--training"])
@pytest.mark.parametrize("content", [None, "\xff"])
def test_bad_evidence_is_one_line_and_no_package(
    command: list[object], tmp_path: Path, option: str, content: str | None
) -> None:
    place = command.index(option) + 1
    path = tmp_path / "bad.json"
    if content is not None:
        path.write_text(content, encoding="latin-1")
    done = edgeqa(*command[:place], path, *command[place + 1 :])
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "bad.json" in done.stderr
    assert not (tmp_path / "out").exists()
