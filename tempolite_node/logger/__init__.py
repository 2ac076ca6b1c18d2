"""The log lines of a node: how they look, and the thread that writes them, so that nobody else waits for it.

It must not know what the lines are about.
"""
