"""Other ways to run the same weights on the same questions, each a process behind one protocol.

    from peers import PEERS, Worker, available

    for peer, missing in available():
        if missing:
            print(f"{peer.name}: {missing}")
    with Worker(PEERS["transformers"]) as worker:
        worker.load(checkpoint, threads=2)
        asked = worker.ask([{"id": "1", "question": "…", "context": "…"}])

docs/peers.md says what each peer is set to, and why.
"""

from peers.catalogue import PEERS, Peer, available
from peers.worker import Asked, Loaded, PeerError, Worker

__all__ = ["PEERS", "Asked", "Loaded", "Peer", "PeerError", "Worker", "available"]
