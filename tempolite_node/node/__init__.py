"""The event loop: builds the parts of a node and joins them, implements the API's ports, wakes those who wait.

It must not know SQL, gRPC messages or user code.
"""
