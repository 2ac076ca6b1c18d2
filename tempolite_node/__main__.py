"""`python -m tempolite_node` is `tempolite-node`."""

from tempolite_node.cli import main

main(prog_name="tempolite-node")
