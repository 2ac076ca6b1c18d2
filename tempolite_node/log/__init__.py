"""Orders commands: `base.py` is the contract, `local.py` keeps it on one node, `replicated.py` and `raft/` on several.

It must not know what a command means, nor worker hosts.
"""
