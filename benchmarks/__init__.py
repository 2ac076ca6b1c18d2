"""How fast a node is, and how its cost grows: `scripts/bench`. Every figure stands beside the raw limits of its run."""
