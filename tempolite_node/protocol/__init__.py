"""The wire between a node and its worker hosts: what is said, and how it travels.

Nothing else: it must not know who speaks, what a call leads to, or any rule of the engine.
"""
