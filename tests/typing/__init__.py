"""What the type checker says of the public names: what it infers, what it takes, what it refuses."""
