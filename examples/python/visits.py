"""Counts visits in a cache that Go programs have open too, through memcached's protocol.

    visits.py ADDRESS NAME N

ADDRESS is the path of a server's socket, or HOST:PORT. N visits of the user NAME are counted,
and the greeting of that user, which a Go program may have set, is printed. It uses pymemcache if
that is installed, and otherwise the class Client below, which shows how little is needed.
"""

import socket
import sys


class Client:
    """A connection to a server, with the calls of pymemcache that this program makes."""

    def __init__(self, address):
        if isinstance(address, tuple):
            self.socket = socket.create_connection(address)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(address)
        self.answers = self.socket.makefile("rb")

    def ask(self, line, data=None):
        request = line.encode() + b"\r\n"
        if data is not None:
            request += data + b"\r\n"
        self.socket.sendall(request)
        answer = self.answers.readline().rstrip(b"\r\n")
        if not answer or answer.split()[0] in (b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR"):
            raise RuntimeError(f"{line}: found the answer {answer!r}")
        return answer

    def get(self, key):
        answer = self.ask(f"get {key}")
        if answer == b"END":
            return None
        value = self.answers.read(int(answer.split()[3]) + 2)[:-2]
        self.answers.readline()  # END
        return value

    def set(self, key, value, expire=0):
        return self.ask(f"set {key} 0 {expire} {len(value)}", value) == b"STORED"

    def add(self, key, value, expire=0):
        return self.ask(f"add {key} 0 {expire} {len(value)}", value) == b"STORED"

    def incr(self, key, n):
        answer = self.ask(f"incr {key} {n}")
        return None if answer == b"NOT_FOUND" else int(answer)

    def close(self):
        self.answers.close()
        self.socket.close()


def connect(address):
    host, colon, port = address.rpartition(":")
    where = (host, int(port)) if colon and "/" not in address else address
    try:
        from pymemcache.client.base import Client as Pymemcache
    except ImportError:
        return Client(where), "sockets"
    return Pymemcache(where, default_noreply=False), "pymemcache"


def main():
    address, name, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
    client, library = connect(address)
    client.add("visits:" + name, b"0")  # does nothing if somebody counts already
    for _ in range(n):
        client.incr("visits:" + name, 1)
    client.set("last:" + name, b"Python", expire=600)
    greeting = client.get("greeting:" + name)
    print(f"with {library}: greeting {(greeting or b'none').decode()}")
    client.close()


main()
