"""Why an execution does not move: from what is stored of it, and what its nodes know beside the store.

Pure: facts go in, an explanation comes out. It reads no clock and asks nobody; `facts.py` says what it needs.
"""
