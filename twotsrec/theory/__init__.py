"""Theorem 2.1 of 2TS: when a user's own vector is the better start.

`bounds` holds the theorem with its constants, and what the paper misprints;
`shrunk` a start between the two, whose risk is below that of every threshold;
`power_law` the activity of users; `estimates` and `user_vectors` get Q, V and
alpha from data; `simulation` runs the setting of the theorem in `worlds` where
all of it is known.
"""
