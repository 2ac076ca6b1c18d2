"""The gRPC API: message to command, outcome to message. It knows nothing of the store, the hosts or the log."""
