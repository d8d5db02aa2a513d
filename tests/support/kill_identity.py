"""Have the keeping of renewed certificates go wrong at each of its steps, for real.

    python -m support.kill_identity FAULT OUT CERT KEY FIRST SECOND

keeps the PEM files FIRST and SECOND, one after the other, beside the bundle CERT and KEY, in
OUT/0/state, OUT/1/state, …, in a child process of which the 0th, 1st, … step goes wrong (see
`power_cut`), until one ends by itself. OUT/n/said holds what was kept before the child died.

With an errno for FAULT the child must survive: what was used before is used after, and the same
succeeds when the disk is well again.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path

import structlog

from edgeqa.tls import CertificateFiles
from edgeqa_agent.identity import OwnIdentity
from support.kill_store import silent
from support.power_cut import ENDS, Disk

MOST_STEPS = 60


def keep(fault: str, at: int, out: Path, bundle: CertificateFiles, pems: list[bytes]) -> bool:
    """One trial; whether nothing was left to go wrong."""
    state = out / "state"
    disk = Disk(at=at, fault=fault, spare=out / "spare")
    said, write = os.open(out / "said", os.O_WRONLY | os.O_CREAT), os.write
    identity = OwnIdentity(bundle=bundle, folder=state / "identity", device="pi-1", log=silent())
    disk.install()
    for number, pem in enumerate(pems):
        before = identity.current().fingerprint
        try:
            after = identity.adopt(pem).fingerprint
        except OSError:
            if fault in ENDS:
                raise
            disk.mend()
            # Only the last step, the sync of the folder, fails behind the rename.
            assert identity.current().fingerprint == before or disk.steps[-1] == "sync"
            after = identity.adopt(pem).fingerprint
        assert identity.check().fingerprint == after
        write(said, f"{number}\n".encode())
    disk.mend()
    return at >= len(disk.steps)


def main() -> None:
    """See the module."""
    structlog.configure(processors=[], wrapper_class=structlog.BoundLogger)
    fault, out = sys.argv[1], Path(sys.argv[2])
    bundle = CertificateFiles(Path(sys.argv[3]), Path(sys.argv[4]))
    pems = [Path(one).read_bytes() for one in sys.argv[5:]]
    for at in range(MOST_STEPS):
        (out / str(at) / "state").mkdir(parents=True)
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if keep(fault, at, out / str(at), bundle, pems) else 1)
            except BaseException:  # noqa: BLE001  a child's edge
                traceback.print_exc()
                os._exit(9)
        _, status = os.waitpid(child, 0)
        if status == 0:
            return
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        survived = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 1
        if not (killed if fault in ENDS else survived):
            sys.exit(f"step {at}: ended with {status}")
    sys.exit("it never ends")


if __name__ == "__main__":
    main()
