"""A client in a forked child: it is the parent's, and what would wait for the parent's threads returns at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb

from .client_peer import Peer

#: What stands around the fork: a client whose calls share a session, as they ran beside each other.
_PROGRAM = """
import os, sys, threading
from tempolite_sdk.client.sync_client import Client

client = Client(sys.argv[1], timeout=30)
together = threading.Barrier(4)

def enqueue():
    together.wait()
    client.enqueue("answered")

def in_child():
    {body}

while client._connection._route.in_use._session is None:
    threads = [threading.Thread(target=enqueue) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
child = os.fork()
if child == 0:
    try:
        in_child()
    except BaseException as error:
        print(type(error).__name__, flush=True)
    else:
        print("returned", flush=True)
    os._exit(0)
os.waitpid(child, 0)
client.enqueue("answered")
print("the parent goes on")
"""


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("client.close()", "returned"),
        ("client.__exit__(None, None, None)", "returned"),
        ("client._connection._under_way = 1; client.enqueue('answered')", "FailedPrecondition"),
        ("client._connection._lock.acquire(); client.enqueue('answered')", "FailedPrecondition"),
    ],
)
def test_nothing_hangs_in_a_forked_child_and_the_parent_goes_on(
    peers: Callable[..., Peer], body: str, told: str
) -> None:
    """In a process of its own: pytest's is not to be forked. The third and fourth: a call was under way at the fork."""
    peer = peers(
        reply=lambda call: pb.SessionReply(number=call.number, enqueue=pb.EnqueueExecutionResponse(id=call.enqueue.id))
    )
    peer.answers("EnqueueExecution", lambda request, _context: pb.EnqueueExecutionResponse(id=request.id))

    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(body=body), peer.address], capture_output=True, text=True, timeout=60
    )

    assert ran.stdout.splitlines() == [told, "the parent goes on"], ran.stderr
