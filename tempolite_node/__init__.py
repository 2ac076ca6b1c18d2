"""The node daemon: durable execution over an embedded SQLite store. Start reading at ARCHITECTURE.md.

A package is a thread, a process or a boundary. The modules beside them know the engine at most.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("tempolite")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+source"
