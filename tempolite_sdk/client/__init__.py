"""The client half: sync and async client, and the way of a call to a node. Needs grpcio.

It must not know what a handler does: contexts, steps and side effects are the other half.
"""
