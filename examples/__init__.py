"""The same small support desk, once per framework."""
