from typing import Any

class SyncObjConf:
    appendEntriesPeriod: float
    def __init__(self, **kwargs: Any) -> None: ...
