"""The HTTP rules, apart from any I/O."""
