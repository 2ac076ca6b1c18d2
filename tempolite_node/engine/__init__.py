"""Decides what a command changes. Pure: no clock, no randomness, no I/O, no SQL, no protobuf.

The same commands in the same order give the same decisions on every node; what depends on the moment (time, new
ids, jitter) is read when a command is made and travels in it.
"""
