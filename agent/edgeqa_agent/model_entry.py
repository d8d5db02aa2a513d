"""Where a model process begins: it loads the libraries of the model, and says so if it cannot."""

from __future__ import annotations

import os
import sys
from multiprocessing.connection import Connection

from edgeqa.installation import installation_error
from edgeqa_agent.jobs import Failed, encode


def main(argv: list[str]) -> int:
    """As `model_main.main`."""
    try:
        # One by one: where numpy does not load, onnxruntime prints a traceback of its own.
        import numpy  # noqa: F401, PLC0415
        import tokenizers  # noqa: F401, PLC0415

        from edgeqa_agent import model_main  # noqa: PLC0415
    except (ImportError, OSError) as error:
        said = installation_error(error)
        failed = Failed(said.code, str(said), int(said.exit_code))
        Connection(int(argv[1])).send_bytes(encode(failed))
        return int(said.exit_code)
    return model_main.main(argv)


if __name__ == "__main__":
    # Without the interpreter's farewell: a reader may be in the middle of an inference that nobody
    # waits for any more.
    os._exit(main(sys.argv))
