"""Rehearsing: the copy of an install, and the commercial rooms that live through its next days.

Theory of operation
-------------------

`Runner` is in the server. It takes what was asked for, makes an empty database beside the live one, starts a process
of its own and waits for what that says. The process (`__main__`) reads the live database once, in one REPEATABLE READ,
READ ONLY transaction, copies the rows it needs table to table, and lets the live database go. From there on it lives on
the copy: an `Office` as the server has it, with a clock that stands wherever it is put, mail and payment providers that
only write down, and a stepper that runs the job that is due first, then the next, until the rehearsed days are over.

A process of its own, because what a rehearsal does would otherwise show in the live one: SIDs carry the time and grow
within a process, so those made after a rehearsal of 90 days would be 90 days ahead; and a long computation would hold
up requests. It ends when its server does: it reads its standard input, which then closes.
"""
