"""The node daemon: durable execution over an embedded SQLite store. Start reading at ARCHITECTURE.md.

A package is a thread, a process or a boundary. The modules beside them know the engine at most.
"""

__version__: str  #: looked up when it is asked for: reading the metadata takes longer than all else that a host imports


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("tempolite")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0+source"
