"""What a client asks of a node, without the asking: each call's request, and how its response is read.

`Client` and `AsyncClient` differ in how they carry a call out and in nothing else. What takes several calls is a
conversation: a generator that yields calls and is sent their results.
"""
