"""Between protobuf messages and values of the engine: `requests.py` in, `responses.py` out.

It must not ask the node anything.
"""
