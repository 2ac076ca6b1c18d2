"""Random programs of handlers on the real daemon: disturbed or not, each replay goes the way that it went."""
