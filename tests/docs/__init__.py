"""What README and documentation say, held against the code."""
