"""The example apps over real HTTP: one contract for both, and the whole path from a commit to a 304."""
