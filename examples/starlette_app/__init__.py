"""The support desk on Starlette."""
