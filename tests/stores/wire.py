"""A feed without a server: what is subscribed to, published and pinged goes over a wire, step by step, in its order."""

from collections import Counter, deque

from cache_revalidate.stores.listening import Listener

BELIEVED_FOR = 3.0


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now


class WireLine:
    """The connection, as mirrors see it."""

    believed_until = 0.0


class Wire:
    """The feed of a mirror, and the server at its other end.

    Commands reach the server one by one (`serve`), and what it answers and publishes comes back one by one (`deliver`).
    """

    def __init__(self, clock: Clock) -> None:
        self.is_down = False
        self.subscribed: set[str] = set()
        self.confirmed: set[str] = set()
        self.commands: deque[tuple[str, str, float]] = deque()
        self.stream: deque[tuple[str, str, object]] = deque()
        self._clock = clock
        self._line = WireLine()
        self._listeners: dict[str, Listener] = {}
        self._under_way: Counter[str] = Counter()

    @property
    def believed_until(self) -> float:
        """Until when the wire's silence may be believed."""
        return self._line.believed_until

    def listen(self, channel: str, listener: Listener) -> None:
        """Subscribe, unless that is done or under way; nothing comes of it while the server is down."""
        if self._listeners.get(channel) is listener:
            return
        listener.lost()
        if not self.is_down:
            self._listeners[channel] = listener
            self._command("subscribe", channel)

    def leave(self, channel: str, listener: Listener) -> None:
        """End a subscription."""
        if self._listeners.get(channel) is listener:
            del self._listeners[channel]
            self.confirmed.discard(channel)
            self._command("unsubscribe", channel)

    def ping(self) -> None:
        """Send a ping."""
        self.commands.append(("ping", "", self._clock.now))

    def serve(self) -> None:
        """Let the next command reach the server."""
        command, channel, sent = self.commands.popleft()
        if command == "subscribe":
            self.subscribed.add(channel)
        elif command == "unsubscribe":
            self.subscribed.discard(channel)
        self.stream.append((command, channel, sent))

    def publish(self, channel: str, tokens: dict[str, str]) -> None:
        """Publish, at the server, what those who are subscribed by now will hear."""
        if channel in self.subscribed:
            self.stream.append(("message", channel, tokens))

    def deliver(self) -> tuple[str, str, object]:
        """Let the next thing that the server has sent arrive, and return it."""
        kind, channel, content = self.stream.popleft()
        listener = self._listeners.get(channel)
        if kind == "message" and listener:
            assert isinstance(content, dict)
            listener.heard(content)
        elif kind == "ping":
            assert isinstance(content, float)
            self._line.believed_until = content + BELIEVED_FOR
        elif kind in {"subscribe", "unsubscribe"}:
            self._under_way[channel] -= 1
            if kind == "subscribe" and listener and not self._under_way[channel]:
                self.confirmed.add(channel)
                listener.confirmed(self._line)
        return kind, channel, content

    def settle(self) -> None:
        """Ping, and let all that is on its way arrive."""
        self.ping()
        while self.commands:
            self.serve()
        while self.stream:
            self.deliver()

    def lose(self) -> None:
        """Lose the connection, and with it all that is on its way; the next one has no subscriptions."""
        self._line.believed_until = 0.0
        self._line = WireLine()
        listeners = list(self._listeners.values())
        for things in (self.subscribed, self.confirmed, self.commands, self.stream, self._listeners, self._under_way):
            things.clear()
        for listener in listeners:
            listener.lost()

    def _command(self, command: str, channel: str) -> None:
        self._under_way[channel] += 1
        self.commands.append((command, channel, self._clock.now))
