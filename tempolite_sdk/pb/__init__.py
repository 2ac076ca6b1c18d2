"""Code generated from proto/ by scripts/generate_proto. Not edited by hand."""
