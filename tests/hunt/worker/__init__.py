"""The app under the hunt: one set of handlers, and two schemes by which its clients learn what has changed."""
