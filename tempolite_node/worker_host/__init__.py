"""What runs in the child process: it imports the handlers and runs them, replaying what is recorded.

It knows the protocol and the SDK. It must not know the store, gRPC, or which slots exist: the node says what to run.
"""
