"""Reports to the API server: Events for changes of health, and a node condition. Off by default.

The gateway needs no access to the API server, and never waits for it. `ClusterReports` has a task of its own. The
latest state wins: after a time without the API server it gets the difference between what it was sent last and what is
so now, and nothing about changes in between. What was sent is kept for each device. After an error the next attempt
continues there. The pauses between attempts grow from 1 s to 60 s.

An Event is made when the stage of a device's health changes. Evidence that is only reported is kept in a list of its
own until its Event is made. The condition is True while a device that is present is not healthy. It is set when devices
or their health change, and not repeated in between.
"""
