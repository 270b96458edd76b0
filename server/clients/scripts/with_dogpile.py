"""dogpile.cache over its backends for memcached."""

import itertools
import threading
import time

import checks

try:
    from dogpile.cache import make_region
    from dogpile.cache.api import NO_VALUE
except ImportError as e:
    checks.skip("dogpile.cache is missing: %s" % e)


def run(c, region, name, arguments):
    region.delete_multi(["a", "b", "m1", "m2", "m3"])
    c.equal("get of nothing", region.get("a"), NO_VALUE)
    region.set("a", {"text": "\u20ac", "bytes": checks.EVERY_BYTE})
    c.equal("get", region.get("a"), {"text": "\u20ac", "bytes": checks.EVERY_BYTE})
    region.set_multi({"m1": 1, "m2": [2]})
    c.equal("get_multi", region.get_multi(["m1", "m2", "m3"]), [1, [2], NO_VALUE])
    region.delete("a")
    c.equal("get after delete", region.get("a"), NO_VALUE)
    region.delete_multi(["m1", "m2"])
    c.equal("get_multi after delete_multi", region.get_multi(["m1", "m2"]), [NO_VALUE, NO_VALUE])

    # Of threads that ask for a missing value, one creates it.
    created = []
    started = threading.Barrier(8)

    def create():
        created.append(1)
        return "made"

    def ask():
        started.wait()
        got.append(region.get_or_create("b", create))

    got = []
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    c.equal("get_or_create", got, ["made"] * 8)
    c.equal("creations", len(created), 1)

    # An old value is made again, by one thread, while the others get the old one.
    numbers = itertools.count(1)
    short = make_region().configure(name, expiration_time=0.5, arguments=arguments)
    short.delete("c")
    c.equal("first value", short.get_or_create("c", lambda: next(numbers)), 1)
    c.equal("the same value", short.get_or_create("c", lambda: next(numbers)), 1)
    for _ in range(100):
        if short.get("c") is NO_VALUE:
            break
        time.sleep(0.1)
    c.equal("an old value", short.get("c", ignore_expiration=True), 1)
    c.equal("second value", short.get_or_create("c", lambda: next(numbers)), 2)
    c.equal("a creation within one", region.get_or_create("d", lambda: "d" + region.get_or_create("e", lambda: "e")), "de")
    region.delete_multi(["d", "e"])

    # A lock is held by one thread at a time.
    inside = threading.Lock()
    alone = []

    def enter():
        for _ in range(5):
            mutex = region.backend.get_mutex("lock")
            mutex.acquire()
            got = inside.acquire(False)
            alone.append(got)
            time.sleep(0.002)
            if got:
                inside.release()
            mutex.release()

    if region.backend.get_mutex("lock") is not None:
        threads = [threading.Thread(target=enter) for _ in range(5)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        c.equal("threads with a lock", alone, [True] * 25)

    mutex = region.backend.get_mutex("lock")
    if mutex is not None:
        c.true("acquire", mutex.acquire(False))
        c.true("acquire of what is locked", not mutex.acquire(False))
        mutex.release()
        c.true("acquire after release", mutex.acquire(False))
        mutex.release()


host, port, path = checks.arguments()
server = "%s:%d" % (host, port)
backends = [
    ("dogpile.cache.pylibmc", {"url": [server], "binary": True}),
    ("dogpile.cache.pylibmc", {"url": [server], "binary": False}),
    ("dogpile.cache.pylibmc", {"url": [path], "binary": True}),
    ("dogpile.cache.memcached", {"url": server}),
    ("dogpile.cache.pymemcache", {"url": server}),
]
c = checks.Checks()
for name, arguments in backends:
    arguments.update(distributed_lock=True, memcached_expire_time=100, lock_timeout=30)
    try:
        region = make_region().configure(name, expiration_time=60, arguments=arguments)
        region.get("a")
    except ImportError as e:
        print("not tried: %s, because a library is missing: %s" % (name, e))
        continue
    c.where = "%s with %s" % (name, arguments)
    run(c, region, name, arguments)
if not c.made:
    checks.skip("no backend of dogpile.cache can be loaded")
c.end()
