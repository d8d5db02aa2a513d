"""What pip brings that serving does not need, and why; `slim.py` takes it out of the images.

Each entry must be there to be taken out: one that is not is a mistake of ours, or a library has
changed and wants looking at. Paths are patterns below site-packages; `**` matches any folders.
"""

from __future__ import annotations

# Distributions, whole. Those of [agent] that only tokenizers' and onnxruntime's metadata ask for.
_HUB = "tokenizers loads from the hub with it; an agent only reads files"
_TOOLS = "onnxruntime's tools import it, sessions do not"
_RICH = "tracebacks in colour and Markdown: structlog and rich do without"
_C_PARSER = "cffi compiles with it; compiled modules do without"
DISTRIBUTIONS = {
    "agent": {
        "certifi": _HUB,
        "charset-normalizer": _HUB,
        "filelock": _HUB,
        "flatbuffers": _TOOLS,
        "fsspec": _HUB,
        "hf-xet": _HUB,
        "huggingface-hub": _HUB,
        "markdown-it-py": _RICH,
        "mdurl": _RICH,
        "packaging": _TOOLS,
        "protobuf": _TOOLS,
        "pycparser": _C_PARSER,
        "pygments": _RICH,
        "pyyaml": _HUB,
        "requests": _HUB,
        "tqdm": _HUB,
    },
    "cloud": {"pycparser": _C_PARSER},
}

_COMMON_FILES = {
    "**/tests": "tests",
    "**/*.pyi": "type stubs",
    "securesystemslib/_vendor/ed25519/test_data": "tests",
}
FILES = {
    "agent": {
        **_COMMON_FILES,
        "numpy/_core/include": "headers",
        "numpy/_core/lib": "static libraries and headers",
        "numpy/**/*.pxd": "headers for Cython",
        "numpy/random/lib": "static libraries",
        "numpy/random/_examples": "examples",
        "numpy/f2py": "compiles Fortran",
        "onnxruntime/capi/libonnxruntime.so.*": "the C API: the whole library a second time",
        "onnxruntime/quantization": "for the workshop",
        "onnxruntime/tools": "for the workshop",
        "onnxruntime/transformers": "for the workshop",
        "onnxruntime/datasets": "examples",
    },
    "cloud": {
        **_COMMON_FILES,
        "pygments/lexers/[!_]*.py": "colours for some 500 languages",
        "pygments/styles/[!_]*.py": "colour schemes of them",
        "sqlalchemy/dialects/mssql": "another database",
        "sqlalchemy/dialects/mysql": "another database",
        "sqlalchemy/dialects/oracle": "another database",
        "sqlalchemy/testing": "tests",
        "alembic/testing": "tests",
        "alembic/templates": "for new projects",
    },
}

# Of what matches, these stay: tracebacks on a terminal are coloured Python.
KEPT = ("pygments/lexers/python.py", "pygments/styles/default.py")

# Ours: an image has one role, and `edgeqa` leaves out what is not there.
OURS = {
    "agent": {
        "edgeqa_cloud": "another role",
        "edgeqa_models": "another role",
    },
    "cloud": {
        "edgeqa_agent": "another role, and the default models",
        "edgeqa_models": "another role",
    },
}

# Left of bin/; the others start programs of libraries.
COMMANDS = ("edgeqa", "python", "python3", "python3.11")
