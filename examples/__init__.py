"""Programs to read, run and copy: handlers as users write them, and clients that drive them."""
