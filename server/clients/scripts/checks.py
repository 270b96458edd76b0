"""Counts checks and prints those that fail, for the scripts beside it."""

import sys
import time


class Checks:
    def __init__(self):
        self.made = 0
        self.failed = 0
        self.where = ""

    def true(self, name, ok, found=None):
        self.made += 1
        if not ok:
            self.failed += 1
            print("FAIL %s: %s: found %.200r" % (self.where, name, found))

    def equal(self, name, found, expected):
        self.true(name, found == expected, (found, "expected", expected))

    def raises(self, name, kind, fn):
        try:
            found = fn()
        except kind:
            self.true(name, True)
        except Exception as e:  # another one is what failed
            self.true(name, False, e)
        else:
            self.true(name, False, found)

    def gone(self, name, read):
        """Waits until read returns None."""
        for _ in range(300):
            found = read()
            if found is None:
                break
            time.sleep(0.1)
        self.equal(name, found, None)

    def end(self):
        print("%d checks, %d failed" % (self.made, self.failed))
        sys.exit(1 if self.failed or not self.made else 0)


def skip(reason):
    """Ends the script, because what it needs is missing."""
    print(reason)
    sys.exit(77)


def arguments():
    """Returns host and port of the server, and the path of its socket."""
    return sys.argv[1], int(sys.argv[2]), sys.argv[3]


EVERY_BYTE = bytes(range(256)) * 4
LARGE = b"0123456789abcdef" * 60000  # 960,000 bytes, below the limit of 1 MiB
TOO_LARGE = b"x" * (1 << 20)
