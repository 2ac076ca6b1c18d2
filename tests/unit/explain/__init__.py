"""Why executions do not move."""
