"""Push: tells browsers which tokens changed, by server-sent events and WebSockets."""
