from collections.abc import Iterable
from typing import Any

from pysyncobj.node import Node

class Transport:
    def __init__(self, syncObj: Any, selfNode: Node, otherNodes: Iterable[Node]) -> None: ...
    def send(self, node: Node, message: dict[str, Any]) -> bool: ...
