"""The worker host: the child process that imports the handlers and runs them, replaying what is recorded.

It knows frames and the SDK. It must not know the store, gRPC, or which slots exist: the node tells it what to run.
"""
