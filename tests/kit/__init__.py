"""A whole node in one process: the real driver, engine, store and worker host, and a clock that is set by hand.

Nothing in it happens by itself or at once with something else, so what is told is what happens, each time: the node and
its worker host talk until neither has anything left to do, and then it is the caller's turn. A crash leaves all stacks
where they are: none of their code runs any more.
"""
