"""Orders commands. One contract, and a single node's implementation of it: the transaction is the log."""
