"""An explicit-state checker of the consistency protocol, and of the variants that it was chosen over.

`search` knows nothing of the protocol. `world` is one state of everything; `writers`, `folds`, `readers` and
`environment` are what can happen in it, `properties` what must hold. The protocol and its variants are one transition
system with the `switches` of `Protocol`, so that a variant differs from the protocol by its switch alone.

What is left out: how long locks are held and what is slow (the upsert in the data's transaction), tags and viewers,
and the bump of a version row that has become older than `max_age`.

`python -m tests.model --trace` prints each search and its counterexample; `--large`, or `MODEL_SIZE=large` for the
tests, searches larger settings too, which takes minutes.
"""
