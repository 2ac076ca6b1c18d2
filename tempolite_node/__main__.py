"""`python -m tempolite_node` is `tempolite-node`."""

import sys

if not sys.flags.safe_path:
    # The directory it was started in. What is imported from here on does not depend on what lies there.
    del sys.path[0]

from tempolite_node.cli.main import main

main(prog_name="tempolite-node")
