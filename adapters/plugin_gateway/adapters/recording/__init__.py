"""`run --record`: writes the conversation with the kubelet, and what the driver reported, into a file.

A recording has one JSON object per line. The first line has the version of the format, the time, and all settings that
decide what the kubelet is sent. Each further line has `t`, the seconds since the beginning, `what`, the kind of the
line, and fields of that kind. `replay.reading` has all kinds. Messages are in hexadecimal, as they were sent.

Version 5 is written, and every version can be replayed. The first line says which gateway wrote it, on which node and
kernel; the driver's version and the kubelet's user agent stand in the lines that they belong to. What a later version
added is left out: unknown fields, and lines of an unknown kind. Up to version 4, every device was a whole physical one.
Versions 1 and 2 named evidence differently. `older_forms` reads all of them. Up to version 3 there are no lines `event`
and `kept_back`, which say what others on the node did. In version 1 the end of a stream does not say which side ended
it, there is no line `waited`, and there is no last line `end`. So nothing can tell whether a recording of version 1 is
complete.

Where a gateway has several backends, the first line names them in their order, and each line about the devices or the
driver of one has its name as `backend`.

A thread writes the file, and nothing waits for the disk. Up to 10,000 lines wait for it. If there are more, lines are
lost; the log says so, and a line `lost` says in the recording how many are missing. After an error of the disk nothing
more is written. A line that could be written only in part is removed again. A recording that fails has no effect on the
devices.
"""
