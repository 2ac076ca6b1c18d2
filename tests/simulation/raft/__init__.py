"""A cluster in one thread: the real log, library and journal, with a virtual clock, network, disks and power.

Everything that happens is drawn from one seed, so that a failure replays exactly.
"""
