"""Who pays for the TUF client: whoever reads a repository, and nobody else."""

from __future__ import annotations

import subprocess
import sys

import pytest

# As where these are not installed: a Python that raises for them.
_WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"tuf", "securesystemslib", "urllib3"}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Missing())
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    "imports",
    [
        # Commands, settings, and what both roles use without a repository.
        "edgeqa, edgeqa.cli, edgeqa.demo",
        "edgeqa.repository.clock, edgeqa.repository.fetching, edgeqa.repository.transfer",
        "edgeqa_cloud.cli, edgeqa_cloud.settings, edgeqa_cloud.packages.catalogue",
        "edgeqa_agent.settings, edgeqa_agent.source, edgeqa_agent.wiring",
    ],
)
def test_without_a_repository_no_client_is_needed(imports: str) -> None:
    done = run(f"{_WITHOUT}\nimport {imports}")
    assert done.returncode == 0, done.stderr


def test_the_check_itself_fails_where_the_client_is_imported() -> None:
    assert (
        "ModuleNotFoundError: tuf" in run(f"{_WITHOUT}\nimport edgeqa.repository.catalogue").stderr
    )


def test_the_client_brings_no_model_code() -> None:
    """The agent's main process, a repository included, has neither numpy nor onnxruntime."""
    done = run(
        "import sys, edgeqa_agent.fetch, edgeqa_agent.app\n"
        "print({'numpy', 'onnxruntime', 'tokenizers'} & sys.modules.keys())"
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")
