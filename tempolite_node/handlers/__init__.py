"""What nodes serve: the catalog of handlers, and the options of a call, by level.

It must not know user code: a handler here is a description.
"""
