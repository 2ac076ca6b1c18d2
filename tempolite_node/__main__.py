"""`python -m tempolite_node` is `tempolite-node`."""

from tempolite_node.cli.main import main

main(prog_name="tempolite-node")
