"""The models that are measured: a checkpoint and packages of the same weights.

Made once, in a process of its own, because that needs torch and much memory:

    python -m bench.models FOLDER NAME…
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeqa.errors import DataError, EdgeqaError
from edgeqa.manifest import MANIFEST_FILE, open_package
from edgeqa_agent.settings import default_package

# The first is that of the agent; the others have the published models' size and random weights.
MODELS = ("default", "distilbert", "bert-base")
_CHECKS = 8


@dataclass(frozen=True)
class Model:
    """One model in all forms that a side may need.

    Attributes:
        checkpoint: for transformers; None where it could not be made.
        int8: package.
        fp32: package of the checkpoint's weights; None as `checkpoint`.
        trained: whether its answers mean anything.
        digests: of both packages.
    """

    name: str
    title: str
    checkpoint: Path | None
    int8: Path
    fp32: Path | None
    trained: bool
    digests: tuple[str, ...]


def make_models(names: Sequence[str], folder: Path, log: Path) -> list[Model]:
    """Those that are not in `folder` yet are made; the default model's package always is there.

    Raises:
        DataError: one with random weights cannot be made.
    """
    command = [sys.executable, "-m", "bench.models", str(folder), *names]
    with log.open("wb") as said:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=said, check=False, start_new_session=True
        )
    made: dict[str, str] = json.loads(done.stdout or "{}") if done.returncode == 0 else {}
    if not made:
        shown = (log.read_text(errors="replace").strip().splitlines() or ["nothing said"])[-1]
        if list(names) != ["default"]:
            raise DataError(
                f"the models cannot be made: {shown}; the whole log is {log}. "
                "--models default measures what needs no torch"
            )
    return [_model(name, made.get(name)) for name in names]


def default_model() -> Model:
    """The default model as it is installed, without the forms that have to be made."""
    return _model(MODELS[0], None)


def _model(name: str, made: str | None) -> Model:
    folder = Path(made) if made else None
    int8 = open_package(default_package() if name == "default" else Path(made or "") / "int8")
    fp32 = open_package(folder / "fp32") if folder else None
    manifest = int8.manifest
    trained = name == "default"
    title = f"{manifest.name} {manifest.version}" if trained else f"{name}, random weights"
    return Model(
        name=name,
        title=title,
        checkpoint=folder / "checkpoint" if folder else None,
        int8=int8.path,
        fp32=fp32.path if fp32 else None,
        trained=trained,
        digests=tuple(package.digest for package in (int8, fp32) if package),
    )


def _make(folder: Path, name: str, note: Callable[[str], None]) -> Path:
    """`folder`/`name`-… with `checkpoint`, `fp32` and, but for the default model, `int8`."""
    import fullsize

    from edgeqa_models.export import export
    from edgeqa_models.recover import recover

    source = default_package()
    path = folder / f"{name}-{_recipe(source)}"
    if (path / "made").exists():
        return path
    shutil.rmtree(path, ignore_errors=True)
    note(f"making {name}")
    path.mkdir(parents=True)
    if name == "default":
        recover(package=source, output=path / "checkpoint")
        pairs = [(check.question, check.context) for check in open_package(source).checks()[:4]]
        export(checkpoint=str(path / "checkpoint"), output=path / "draft", questions=pairs)
        named = path / f"{open_package(source).manifest.name}-fp32"
        fullsize.package_draft(path / "draft", named, _CHECKS)
        named.rename(path / "fp32")
        shutil.rmtree(path / "draft")
    else:
        for precision in ("fp32", "int8"):
            made = fullsize.make(path / "work", name, precision, _CHECKS)
            made.path.rename(path / precision)
        (path / "work" / "checkpoints" / name).rename(path / "checkpoint")
        shutil.rmtree(path / "work")
    (path / "made").touch()
    return path


def _recipe(source: Path) -> str:
    """Changes with the code that makes models and with what they are made of."""
    import fullsize

    files = {
        module.__file__
        for name, module in sorted(sys.modules.items())
        if name.startswith("edgeqa_models.") and module.__file__
    }
    digest = hashlib.sha256((source / MANIFEST_FILE).read_bytes())
    for file in sorted({*files, str(fullsize.__file__)}):
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()[:12]


def main(folder: str, names: Sequence[str]) -> int:
    result, sys.stdout = sys.stdout, sys.stderr
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import edgeqa_models.export
    import edgeqa_models.quantise
    import edgeqa_models.recover  # noqa: F401  all that makes a model, for `_recipe`

    try:
        made = {
            name: str(_make(Path(folder), name, lambda line: print(line, file=sys.stderr)))
            for name in names
        }
    except EdgeqaError as error:
        print(f"{error} [{error.code}]", file=sys.stderr)
        return int(error.exit_code)
    print(json.dumps(made), file=result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
