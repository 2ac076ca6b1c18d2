"""The command `tempolite-node`: from its arguments to its exit code. Nothing else reads them.

It must not know how anything is done: it calls the node, the client and the config.
"""
