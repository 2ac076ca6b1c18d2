"""A Python without what is Linux's own, to run a node and the unit tests on the portable twins: see `system.py`.

This directory on PYTHONPATH makes each process such a one.
"""
