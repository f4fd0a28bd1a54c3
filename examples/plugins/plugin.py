#!/usr/bin/env python3
"""A plugin of circusd with Python's standard library alone: python3 plugin.py DIRECTORY

It logs every event to DIRECTORY/events.jsonl, lets no watcher start while there is a file
DIRECTORY/WATCHER.hold, and stops a watcher that flaps. Whether circusd or the plugin is restarted
or killed, no event is lost and none is logged twice: each line has its cursor in it, and the last
one says where to go on. It takes no care of its own end, as none is needed.
"""

import json
import os
import signal
import socket
import sys
import threading
import time

SOCKET = (
    os.environ.get("CIRCUSD_SOCKET")  # people tell its tools where it is
    or os.environ.get("CIRCUS_SOCKET")  # and circusd tells its workers
    or "/run/circusd/circusd.sock"
)
PAUSE_MIN, PAUSE_MAX = 0.1, 5.0  # seconds before connecting again


class Refused(Exception):
    """circusd has answered with an error."""


def replies(method, more=False, **parameters):
    """Calls a method over a connection of its own; yields the parameters of each reply."""
    call = {"method": "io.circusd." + method, "parameters": parameters, "more": more}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("\0" + SOCKET[1:] if SOCKET.startswith("@") else SOCKET)
        connection.sendall(json.dumps(call).encode() + b"\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # circusd was killed while it wrote
                reply = json.loads(line)
                if "error" in reply:
                    raise Refused(f"{reply['error']} {reply.get('parameters', '')}")
                yield reply.get("parameters", {})
                if not reply.get("continues"):
                    return
    raise ConnectionError("circusd has closed the connection")


def call_once(method, **parameters):
    """The one reply of a call."""
    (reply,) = replies(method, **parameters)
    return reply


def follow(handle, method, parameters):
    """Hands over every reply, for ever; without a connection, connects again."""
    pause = PAUSE_MIN
    while True:
        try:
            for reply in replies(method, more=True, **parameters()):
                pause = PAUSE_MIN
                handle(reply)
        except (OSError, Refused) as error:
            if pause == PAUSE_MIN:  # once is enough
                tell(f"{method} at {SOCKET}: {error}; trying again")
        time.sleep(pause)
        pause = min(2 * pause, PAUSE_MAX)


def tell(text):
    """Says something to whoever looks after the plugin."""
    print("plugin.py:", text, file=sys.stderr, flush=True)


class Log:
    """One reply of Subscribe a line; `cursor` is the place in circusd's log behind the last one."""

    def __init__(self, file):
        self.file = file
        self.cursor = None
        end = 0
        file.seek(0)
        for line in file:
            if line.endswith(b"\n"):
                end += len(line)
                self.cursor = json.loads(line)["cursor"]
        file.truncate(end)  # half a line: we were killed while we wrote, and hear it again

    def since(self):
        """What to ask for."""
        return {"since": self.cursor} if self.cursor else {}

    def add(self, reply):
        """Acts on a reply, then logs it."""
        event = reply.get("event")
        if event and event["action"] == "flapping":
            # Killed before the line is written, we do this again, which changes nothing then.
            stop_if_flapping(event["watcher"])
        # The first reply only confirms where we begin. That is news if we did not say it.
        if event or reply.get("gap") or not self.cursor:
            try:
                self.file.write(json.dumps(reply).encode() + b"\n")
                self.file.flush()
            except OSError as error:
                sys.exit(f"plugin.py: the log cannot be written: {error}")
            self.cursor = reply["cursor"]


def stop_if_flapping(watcher):
    """Stops a watcher until somebody starts it; an event of the past may be true no more."""
    try:
        (status,) = call_once("Status", watchers=watcher)["watchers"]
        reason = status.get("reason") or {}
        if reason.get("cause") == "flapping":
            call_once("Stop", watchers=watcher, wait=False)
            tell(f"stopped {watcher}: {reason['text']}")
    except Refused as error:
        tell(f"{watcher} is not stopped: {error}")


def answer(directory, question):
    """Answers a hook; the first reply only confirms that we will be asked."""
    if "invocation" in question:
        hold = os.path.join(directory, question["watcher"] + ".hold")
        try:
            call_once(
                "HookResult",
                invocation=question["invocation"],
                result=not os.path.exists(hold),
            )
        except Refused as error:
            tell(f"too late: {error}")  # as the watcher was stopped meanwhile


def end_whole(error):
    """What one thread did not expect ends both: half a plugin would look alive."""
    sys.excepthook(error.exc_type, error.exc_value, error.exc_traceback)
    os.kill(os.getpid(), signal.SIGTERM)


def main():
    """Answers in one thread, logs in the other."""
    if len(sys.argv) != 2:
        sys.exit("usage: plugin.py DIRECTORY")
    directory = sys.argv[1]
    threading.excepthook = end_whole
    threading.Thread(
        target=follow,
        args=(lambda question: answer(directory, question), "RegisterHook"),
        kwargs={"parameters": lambda: {"hooks": ["before_start"]}},
        daemon=True,
    ).start()
    with open(os.path.join(directory, "events.jsonl"), "ab+") as file:
        log = Log(file)
        follow(log.add, "Subscribe", log.since)


if __name__ == "__main__":
    main()
