"""The gRPC API: messages become commands, outcomes become messages.

It asks the node by the ports in `ports.py`; it must not know the driver, the store, the worker hosts or the log.
"""
