"""The support desk on Litestar."""
