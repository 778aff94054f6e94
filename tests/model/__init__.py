"""An explicit-state checker of the consistency protocol, and of the variants that it was chosen over."""
