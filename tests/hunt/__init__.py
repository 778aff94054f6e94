"""The stale-read hunter: real servers, real clients and real faults, to find a read that is older than promised.

`make hunt MINUTES=10`, or `python -m tests.hunt --minutes 10`, runs it twice: on the library at its durable level, and
on a control, which is Chatwoot's scheme and has to fail. From the top down:

    __main__    the command line, and the exit status
    run         one hunt: starts everything, and writes down what happened
    scenes      what is done to the servers and the data, and by which writers
    clients     who reads, as a caching client does
    author      who writes, and has it watched when the write is shown
    door        how requests reach the app, and writes the data, through the app and past it
    topology    the servers, started and ended by process id, on loopback alone
    worker/     the app, with the library's scheme and the control's; runs in processes of its own
    history     what happened, one JSON object a line
    checker     the judgement: a pure function of the history
    report      its figures, for people and as JSON

The hunter alone keeps the time: every moment in a history is of its own monotonic clock.
"""
