"""A replicated log of opaque entries. The only place that knows pysyncobj, whose gaps are closed here.

It orders bytes. What an entry means, and how the state that entries make is stored, it must not know. Read
`docs/design/raft.md` first, then `core.py` (how the parts play together) and `guards.py` (what is done to the library).
"""
