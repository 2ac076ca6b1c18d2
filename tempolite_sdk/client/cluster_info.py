"""What a node reports of its cluster. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from tempolite_sdk.client.display import Displayed
from tempolite_sdk.client.info import Component


class Consistency(StrEnum):
    """How fresh an answer must be. A node without a cluster is always up to date."""

    LINEARIZABLE = "linearizable"  #: has everything that was acknowledged to anyone before; needs a majority
    STALE = "stale"  #: what the node that is asked has: quick, also without a majority, and perhaps behind


#: A consistency, or its name as type checkers know it.
ConsistencyLike = Consistency | Literal["linearizable", "stale"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class MemberInfo(Displayed):
    """A node of the cluster, or one that is on its way to become one."""

    _in_line = ("node_id", "address", "live", "votes", "draining", "connected", "refused", "lag")

    node_id: str
    address: str  #: where the other nodes reach it
    api_address: str | None = None  #: where clients do; None: it has not started yet
    live: bool = False  #: False: silent for longer than cluster.node_timeout; its work goes elsewhere
    draining: bool = False  #: it takes no new work
    votes: bool = False  #: False: it catches up, and does not count for a majority
    connected: bool = False  #: with the node whose view this is
    refused: str | None = None  #: why one of the two refuses the other's connection
    matched_index: int | None = None  #: up to where its log is known to be the leader's; only the leader knows
    lag: int | None = None  #: entries that the leader has and it is not known to have; only the leader knows
    incarnation: int = 0  #: counts its starts; 0: never started
    handlers: tuple[str, ...] = ()  #: its responsibilities
    open_executions: int = 0  #: that it owns and that have not ended
    workers: Mapping[Component, int] = field(default_factory=dict)  #: of each pool


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ClusterInfo(Displayed):
    """A cluster, as one of its nodes sees it."""

    _in_line = ("name", "node_id", "role", "leader", "term", "applied_index", "members")

    name: str
    node_id: str  #: whose view this is
    role: str  #: of that node: leader, candidate, follower, learner, new or recovering
    leader: str | None  #: its id; None: nobody leads, as far as the node knows
    leader_api_address: str | None
    term: int
    commit_index: int  #: ordered for good, as far as the node knows
    applied_index: int  #: saved in the node's store
    members: tuple[MemberInfo, ...] = ()

    def member(self, node_id: str) -> MemberInfo | None:
        """The member with that id; None: there is none."""
        return next((member for member in self.members if member.node_id == node_id), None)
