"""The part `push`: what it costs to tell a crowd of idle connections of a change."""
