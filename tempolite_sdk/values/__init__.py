"""Whether a value comes back as it is, checked where it is written: see docs/design/values.md.

Knows types, values and JSON; what the values are of (arguments, results, signals) is for those who write them.
"""
