"""What tests stand on: real servers and a real browser."""
