"""Code that goes the same way in each replay: an event loop for each attempt, whose answers are released in one order.

`loop.py` and `tasks.py` are the loop; `ordering.py` is for what asyncio and anyio keep in sets; `run.py` releases the
answers; `runtime.py` carries out what contexts ask. See docs/design/exact-replay.md.
"""
