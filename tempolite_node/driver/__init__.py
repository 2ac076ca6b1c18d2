"""The one thread that writes: it joins log, engine, store and worker hosts, a round at a time.

It must not know gRPC, the event loop or user code.
"""
