"""A draft: an exported model that is not a package yet.

`export` and `quantise` leave one each: `model.onnx`, `tokenizer.json` and `draft.json`, which says
what the weights are and fixes both files by SHA-256: a tokenizer that was exchanged on the way is
the hardest mistake to see in the answers. Drafts are measured like packages; only `package` makes
a package of one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from edgeqa.errors import ModelLoadError
from edgeqa.files import sha256_hex, write_atomic
from edgeqa.manifest import (
    MANIFEST_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    Architecture,
    FileEntry,
    Precision,
    Sha256,
    Sizes,
    open_package,
)
from edgeqa.reader.engine import Engine
from edgeqa.scores import Forced

DRAFT_FILE = "draft.json"
# The sizes that every published reader is served with. Source: Devlin et al. 2019 and the
# defaults of the transformers question-answering pipeline, but for the answer length, which is
# that of BERT's run_squad.py (30).
SERVED = Sizes(max_seq_len=384, doc_stride=128, max_question_tokens=64, max_answer_tokens=30)


class Draft(BaseModel):
    """What `draft.json` says.

    Attributes:
        source_sha256: of the fp32 graph that this one was quantised from.
        files: the draft's files; `write_draft` fills it in. Drafts before 0.2 have none and can be
            measured, but not packaged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Architecture
    precision: Precision
    sizes: Sizes = SERVED
    source_sha256: Sha256 | None = None
    files: dict[str, FileEntry] = {}


@dataclass(frozen=True, slots=True)
class Measurable:
    """A draft or a package, loaded to be measured; `forced` as in a package's manifest."""

    engine: Engine
    precision: str
    model_sha256: str
    model_bytes: int
    forced: Forced | None = None


def write_draft(folder: Path, draft: Draft) -> None:
    """Write `draft.json` beside the files that it describes."""
    files = {
        name: FileEntry(sha256=sha256_hex(folder / name), bytes=(folder / name).stat().st_size)
        for name in (MODEL_FILE, TOKENIZER_FILE)
    }
    draft = draft.model_copy(update={"files": files})
    text = json.dumps(draft.model_dump(), indent=2, sort_keys=True) + "\n"
    write_atomic(folder / DRAFT_FILE, text.encode())


def read_draft(folder: Path) -> Draft:
    """Read `draft.json`.

    Raises:
        ModelLoadError: `draft_malformed`, it is not there or not a draft's, or a file is not the
            one that was written with it.
    """
    path = folder / DRAFT_FILE
    try:
        draft = Draft.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelLoadError(
            f"{folder} is not a draft of `export` or `quantise`: {DRAFT_FILE}: {error.strerror}",
            code="draft_malformed",
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "draft"
        raise ModelLoadError(f"{path}: {where}: {first['msg']}", code="draft_malformed") from error
    for name in (MODEL_FILE, TOKENIZER_FILE):
        part = folder / name
        if not part.is_file() or part.stat().st_size == 0:
            raise ModelLoadError(f"{part}: missing or empty", code="draft_malformed")
        if name in draft.files and sha256_hex(part) != draft.files[name].sha256:
            raise ModelLoadError(
                f"{part} is not the file that this draft was made with: it was exchanged or is "
                "damaged; make the draft again",
                code="draft_malformed",
            )
    return draft


def open_measurable(folder: Path, *, threads: int) -> Measurable:
    """Load a package, or else a draft.

    Raises:
        ModelLoadError: it is neither, or does not load.
        VerificationError: a package whose files are not what its manifest says.
    """
    if (folder / MANIFEST_FILE).exists():
        package = open_package(folder)
        manifest = package.manifest
        graph = manifest.files[MODEL_FILE]
        engine = Engine.load(package, threads=threads)
        return Measurable(engine, manifest.precision, graph.sha256, graph.bytes, manifest.forced)
    draft = read_draft(folder)
    engine = Engine.load_files(
        model=folder / MODEL_FILE,
        tokenizer=folder / TOKENIZER_FILE,
        vocabulary=draft.architecture.vocabulary,
        sizes=draft.sizes,
        threads=threads,
    )
    graph_path = folder / MODEL_FILE
    size = graph_path.stat().st_size
    return Measurable(engine, draft.precision, sha256_hex(graph_path), size)
