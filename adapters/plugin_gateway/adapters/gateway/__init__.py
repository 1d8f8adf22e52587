"""From the observations of the backend to what each resource advertises.

The backend's thread puts each observation into the observation queue. The event loop takes them out and applies them,
one after the other, to the state with the pure function `advance`. The new state is kept for the next start, its
changes are logged and counted, and the advertisement of each resource is computed from it. A resource whose
advertisement changed sends a new device list on its stream. A resource that has devices for the first time is handed to
the registrar. A resource that no rule names any more first sends an empty list, and is then removed.

Time alone can change the state as well: a quiet time ends, or the driver has been missing for too long. The event loop
therefore wakes up when the next such change is due. Another task asks how long the driver has been silent, because the
backend's thread cannot report that while it is blocked in the driver.
"""
