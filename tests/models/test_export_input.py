"""Export and bad input: one clear line, a stable code, and nothing left behind."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from support.tiny import questions, save_checkpoint

from edgeqa.errors import ConfigError, ModelLoadError
from edgeqa_models.export import export
from edgeqa_models.quantise import quantise
from edgeqa_models.variants import Variant

PAIRS = [(question, context) for question, context, _, _ in questions(3)]


def refused(checkpoint: Path | str, tmp_path: Path) -> ModelLoadError:
    before = set(tmp_path.iterdir())
    with pytest.raises(ModelLoadError) as caught:
        export(checkpoint=str(checkpoint), output=tmp_path / "out", questions=PAIRS)
    assert "\n" not in str(caught.value)
    assert set(tmp_path.iterdir()) == before
    return caught.value


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_a_checkpoint_without_head_is_not_a_reader(kind: str, tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "c", kind=kind, head=False)
    assert refused(folder, tmp_path).code == "not_a_reader"


def test_a_classifier_is_not_a_reader(bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bert, tmp_path / "c")
    config = transformers.AutoConfig.from_pretrained(folder)
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    error = refused(folder, tmp_path)
    assert error.code == "not_a_reader"
    assert "qa_outputs" in str(error)


@pytest.mark.parametrize("kind", ["roberta", "gpt2", "no-such-kind"])
def test_another_architecture_is_refused(bert: Path, tmp_path: Path, kind: str) -> None:
    folder = shutil.copytree(bert, tmp_path / "c")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": kind}))
    error = refused(folder, tmp_path)
    assert kind in str(error)
    if kind != "no-such-kind":
        assert error.code == "unsupported_architecture"


def test_a_head_of_three_outputs_is_refused(bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bert, tmp_path / "c")
    config = json.loads((folder / "config.json").read_text())
    labels = {"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
    (folder / "config.json").write_text(json.dumps({**config, **labels}))
    refused(folder, tmp_path)


def test_a_model_of_short_windows_is_refused(tmp_path: Path, bert: Path) -> None:
    config = transformers.AutoConfig.from_pretrained(bert)
    config.max_position_embeddings = 128
    folder = shutil.copytree(bert, tmp_path / "c")
    transformers.BertForQuestionAnswering(config).save_pretrained(folder)
    assert "128 tokens at most" in str(refused(folder, tmp_path))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "garbage", "folder"])
def test_a_damaged_checkpoint_is_one_clear_line(
    bert: Path, tmp_path: Path, name: str, damage: str
) -> None:
    folder = shutil.copytree(bert, tmp_path / "c")
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    bad = {"empty": b"", "truncated": content[: len(content) // 2], "garbage": b"\xff garbage" * 9}
    if damage == "folder":
        (folder / name).mkdir()
    elif damage in bad:
        (folder / name).write_bytes(bad[damage])
    error = refused(folder, tmp_path)
    assert str(folder) in str(error)
    assert "without internet" not in str(error)  # it is a folder: the hub is not to blame


def test_a_flipped_header_of_safetensors_is_one_clear_line(bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bert, tmp_path / "c")
    content = bytearray((folder / "model.safetensors").read_bytes())
    for position in (0, 7, 9, 60):
        content[position] ^= 0xFF
        (folder / "model.safetensors").write_bytes(content)
        refused(folder, tmp_path)


class Bomb:
    """Unpickling it writes a file: a checkpoint is data, never a program."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def test_a_pickled_checkpoint_is_read_as_data_only(bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bert, tmp_path / "c")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    export(checkpoint=str(folder), output=tmp_path / "d", questions=PAIRS)
    torch.save({**weights, "extra": Bomb(tmp_path / "boom")}, folder / "pytorch_model.bin")
    refused(folder, tmp_path)
    assert not (tmp_path / "boom").exists()


# The hub's client tries for 23 s; test_finetune.py waits for it, too.
_TRIED = [pytest.param(one, marks=pytest.mark.slow) for one in ("nobody/no-such", "no-such-folder")]


@pytest.mark.parametrize("name", [*_TRIED, "a/b/c", "../x y"])
def test_an_unknown_id_offline_is_one_line_that_says_what_to_do(tmp_path: Path, name: str) -> None:
    error = refused(name, tmp_path)
    assert name in str(error)
    assert "name a folder with config.json, weights and tokenizer" in str(error)


@pytest.mark.slow
def test_a_hub_id_is_found_in_the_cache_like_a_folder(bert: Path, tmp_path: Path) -> None:
    """As the hub's own client leaves it; without internet, what it has is used."""
    repository = tmp_path / "hub" / "models--somebody--reader"
    snapshot = repository / "snapshots" / ("0" * 40)
    shutil.copytree(bert, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "edgeqa.cli", "models", "export", "somebody/reader"),
            *("--output", tmp_path / "d"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub")},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "d" / "draft.json").exists()


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 300, 20_000])
def test_an_export_that_cannot_be_written_leaves_nothing(
    bert: Path, tmp_path: Path, room: int
) -> None:
    with files_at_most(room), pytest.raises(ConfigError) as caught:
        export(checkpoint=str(bert), output=tmp_path / "out", questions=PAIRS)
    assert caught.value.code == "output_unwritable"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("variant", list(Variant))
@pytest.mark.parametrize("room", [0, 20_000])
def test_a_quantisation_that_cannot_be_written_leaves_nothing(
    fp32: Path, tmp_path: Path, room: int, variant: Variant
) -> None:
    with files_at_most(room), pytest.raises(ConfigError) as caught:
        quantise(draft=fp32, output=tmp_path / "out", texts=PAIRS, variant=variant)
    assert caught.value.code == "output_unwritable"
    assert list(tmp_path.iterdir()) == []


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


def test_a_full_disk_is_named_and_nothing_is_left_on_it(
    bert: Path, fp32: Path, small_disk: Path
) -> None:
    with pytest.raises(ConfigError, match="the disk is full") as caught:
        export(checkpoint=str(bert), output=small_disk / "out", questions=PAIRS)
    assert caught.value.code == "output_unwritable"
    assert list(small_disk.iterdir()) == []
    with pytest.raises(ConfigError, match="the disk is full"):
        quantise(draft=fp32, output=small_disk / "out", texts=PAIRS)
    assert list(small_disk.iterdir()) == []


def test_an_output_that_is_no_place_for_a_folder_is_refused(
    bert: Path, fp32: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for output, code in (
        (tmp_path / "file", "output_exists"),
        (tmp_path / "link", "output_exists"),
        (tmp_path / "file" / "below", "output_unwritable"),
        (Path("/proc/edgeqa/below"), "output_unwritable"),
    ):
        before = set(tmp_path.iterdir())
        with pytest.raises(ConfigError) as caught:
            export(checkpoint=str(bert), output=output, questions=PAIRS)
        assert caught.value.code == code
        with pytest.raises(ConfigError) as caught:
            quantise(draft=fp32, output=output, texts=PAIRS)
        assert caught.value.code == code
        assert set(tmp_path.iterdir()) == before


def test_ctrl_c_while_comparing_leaves_nothing(bert: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(checkpoint=str(bert), output=tmp_path / "o", questions=PAIRS, on_progress=interrupt)
    assert list(tmp_path.iterdir()) == []
