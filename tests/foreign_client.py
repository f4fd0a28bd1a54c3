"""Talks to circusd with the Python package varlink; prints what it heard as one JSON object.

Run by tests/foreign_clients.rs with the path of the socket.
"""

import json
import sys

import varlink
from varlink.scanner import _Method

address = "unix:" + sys.argv[1]
told = {}

with varlink.Client(address) as client:
    with client.open("org.varlink.service") as service:
        told["info"] = service.GetInfo()
    # Parses the description that came over the socket.
    interface = client.get_interface("io.circusd")
    told["methods"] = sum(isinstance(member, _Method) for member in interface.members.values())

    with client.open("io.circusd") as circusd:
        told["status"] = circusd.Status()
        try:
            circusd.Status("nobody")
        except varlink.VarlinkError as error:
            told["error"] = {"error": error.error(), **error.parameters()}

    with client.open("io.circusd") as listening, client.open("io.circusd") as acting:
        stream = listening.Subscribe(["watcher.sleeper.spawn", "watcher.sleeper.ready"], _more=True)
        # The first reply: from here on everything is heard.
        next(stream)
        told["scaled"] = acting.Scale("sleeper", None, 1)["numprocesses"]
        told["events"] = [next(stream)["event"]["action"] for _ in range(2)]

print(json.dumps(told))
