"""The event loop: builds the parts of a node and joins them, answers the API, and tells those who watch.

It must not know SQL, gRPC messages or user code.
"""
