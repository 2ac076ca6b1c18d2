"""The event loop's side of the worker hosts: their processes, their sockets, and whether they still answer.

It must not know which work runs where, nor run user code.
"""
