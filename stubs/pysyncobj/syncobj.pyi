# What tempolite_node/log/raft/guards.py uses of the library, private attributes by their mangled names among it.
from collections.abc import Callable, Iterable
from typing import Any

from pysyncobj.config import SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport

pickle: Any
monotonicTime: Callable[[], float]

class SyncObj:
    _SyncObj__raftState: int
    _SyncObj__raftCurrentTerm: int
    _SyncObj__votedForNodeId: str | None
    _SyncObj__raftLeader: Node | None
    _SyncObj__raftElectionDeadline: float
    _SyncObj__transferInProgress: bool
    _SyncObj__raftLog: Any
    _SyncObj__raftCommitIndex: int
    _SyncObj__raftLastApplied: int
    _SyncObj__raftMatchIndex: dict[Node, int]
    _SyncObj__raftNextIndex: dict[Node, int]
    _SyncObj__lastResponseTime: dict[Node, float]
    _SyncObj__otherNodes: set[Node]
    _SyncObj__readonlyNodes: set[Node]
    _SyncObj__connectedNodes: set[Node]
    _SyncObj__newAppendEntriesTime: float
    _poller: Any

    def __init__(
        self,
        selfNode: Node,
        otherNodes: Iterable[Node],
        conf: SyncObjConf,
        *,
        nodeClass: type[Node],
        transportClass: Callable[[Any, Node, Iterable[Node]], Transport],
    ) -> None: ...
    @property
    def conf(self) -> SyncObjConf: ...
    def doTick(self, timeToWait: float = ...) -> None: ...
    def _SyncObj__onMessageReceived(self, node: Node, message: dict[str, Any]) -> None: ...
    def _SyncObj__onNodeConnected(self, node: Node) -> None: ...
    def _SyncObj__onNodeDisconnected(self, node: Node) -> None: ...
    def _SyncObj__setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None: ...
    def _SyncObj__setState(self, newState: int) -> None: ...
    def _SyncObj__generateRaftTimeout(self) -> float: ...
    def _SyncObj__updateClusterConfiguration(self, newNodes: Iterable[Node]) -> None: ...
