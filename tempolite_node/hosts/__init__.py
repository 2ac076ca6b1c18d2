"""The node's side of its worker hosts: which work gets a slot, which process runs it, and what comes back.

Nothing here is durable, and nothing here runs user code.
"""
