"""`tempolite-node`, also as `python -m tempolite_node`. Imports nothing itself, so that it can say what is missing."""

from __future__ import annotations

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # The directory it was started in. What is imported from here on does not depend on what lies there.
    del sys.path[0]

#: What the extra `node` installs, by the names that are imported.
NODE_EXTRA = (
    "apsw",
    "click",
    "cryptography",
    "grpc_health",
    "grpc_reflection",
    "pydantic",
    "pysyncobj",
    "rich",
    "ruamel",
    "structlog",
)


def main() -> None:
    """Runs the command. With the SDK alone installed, it says in a line what to install, and exits with 1."""
    try:
        from tempolite_node.cli.main import main as command

        command(prog_name="tempolite-node")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in NODE_EXTRA:
            raise
        sys.exit(f"tempolite-node: a node needs {missing}, which is not installed: pip install 'tempolite[node]'")


if __name__ == "__main__":
    main()
