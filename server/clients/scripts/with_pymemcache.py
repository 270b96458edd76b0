"""pymemcache, which speaks the text protocol."""

import checks

try:
    from pymemcache.client.base import Client
    from pymemcache.client.hash import HashClient
    from pymemcache.exceptions import MemcacheClientError, MemcacheServerError, MemcacheIllegalInputError
    from pymemcache import serde
except ImportError as e:
    checks.skip("pymemcache is missing: %s" % e)


def run(c, client):
    client.flush_all()
    c.equal("version", client.version(), b"1.6.18")
    c.equal("get of nothing", client.get("a"), None)
    c.equal("get with a default", client.get("a", "none"), "none")
    c.equal("set", client.set("a", b"1", noreply=False), True)
    c.equal("get", client.get("a"), b"1")
    client.set("a", b"2")  # without a reply
    c.equal("get after a set without a reply", client.get("a"), b"2")
    c.equal("add of what there is", client.add("a", b"3", noreply=False), False)
    c.equal("add", client.add("b", b"3", noreply=False), True)
    c.equal("replace of nothing", client.replace("c", b"3", noreply=False), False)
    c.equal("replace", client.replace("b", b"4", noreply=False), True)
    c.equal("append", client.append("b", b"5", noreply=False), True)
    c.equal("prepend", client.prepend("b", b"3", noreply=False), True)
    c.equal("get of what was joined", client.get("b"), b"345")
    c.equal("append to nothing", client.append("none", b"5", noreply=False), False)

    c.equal("set_many", client.set_many({"m%d" % i: b"%d" % i for i in range(100)}, noreply=False), [])
    c.equal("get_many", client.get_many(["m%d" % i for i in range(110)]), {"m%d" % i: b"%d" % i for i in range(100)})
    c.equal("delete_many", client.delete_many(["m%d" % i for i in range(50)], noreply=False), True)
    c.equal("get_many after delete_many", len(client.get_many(["m%d" % i for i in range(100)])), 50)

    value, cas = client.gets("a")
    c.equal("gets", value, b"2")
    c.equal("cas", client.cas("a", b"new", cas, noreply=False), True)
    c.equal("cas with an old number", client.cas("a", b"newer", cas, noreply=False), False)
    c.equal("cas of nothing", client.cas("none", b"x", cas, noreply=False), None)
    c.equal("gets_many", {k: v[0] for k, v in client.gets_many(["a", "b", "none"]).items()}, {"a": b"new", "b": b"345"})

    client.set("n", b"10", noreply=False)
    c.equal("incr", client.incr("n", 5), 15)
    c.equal("decr", client.decr("n", 100), 0)
    c.equal("incr of nothing", client.incr("none", 1), None)
    client.set("n", b"18446744073709551615", noreply=False)
    c.equal("incr beyond 64 bits", client.incr("n", 2), 1)
    c.raises("incr of a text", MemcacheClientError, lambda: client.incr("a", 1))

    c.equal("touch", client.touch("a", 100, noreply=False), True)
    c.equal("touch of nothing", client.touch("none", 100, noreply=False), False)
    c.equal("delete", client.delete("a", noreply=False), True)
    c.equal("delete of nothing", client.delete("a", noreply=False), False)

    client.set("short", b"1", expire=1, noreply=False)
    c.gone("an item that expires", lambda: client.get("short"))
    client.set("long", b"1", noreply=False)
    client.touch("long", 1, noreply=False)
    c.gone("an item that was touched to expire", lambda: client.get("long"))
    client.set("past", b"1", expire=-1, noreply=False)
    c.equal("an item of the past", client.get("past"), None)

    c.equal("set of any bytes", client.set("bytes", checks.EVERY_BYTE, noreply=False), True)
    c.equal("get of any bytes", client.get("bytes"), checks.EVERY_BYTE)
    c.equal("set of nothing", client.set("empty", b"", noreply=False), True)
    c.equal("get of nothing in an item", client.get("empty"), b"")
    c.equal("set of a large value", client.set("large", checks.LARGE, noreply=False), True)
    c.true("get of a large value", client.get("large") == checks.LARGE)
    c.raises("set of too large a value", MemcacheServerError, lambda: client.set("large", checks.TOO_LARGE, noreply=False))
    c.equal("get after too large a value", client.get("large"), None)
    c.equal("set after too large a value", client.set("large", b"1", noreply=False), True)

    c.raises("a key of 251 bytes", MemcacheIllegalInputError, lambda: client.get("k" * 251))
    c.equal("a key of 250 bytes", client.set("k" * 250, b"1", noreply=False), True)
    c.equal("cache_memlimit", client.cache_memlimit(64), True)
    c.true("stats", client.stats().get(b"version") == b"1.6.18", client.stats())
    c.true("stats settings", b"maxconns" in client.stats("settings"))
    c.equal("flush_all", client.flush_all(noreply=False), True)
    c.equal("get after flush_all", client.get("b"), None)


host, port, path = checks.arguments()
c = checks.Checks()
for server in (host, port), path:
    c.where = "pymemcache at %s" % (server,)
    run(c, Client(server))
c.where = "pymemcache with values of Python"
client = HashClient([(host, port)], serde=serde.pickle_serde)
value = {"list": [1, 2.5, None], "text": "\u20ac"}
client.set("value", value)
c.equal("get", client.get("value"), value)
client.set_many({"x": 1, "y": [2]})
c.equal("get_many", client.get_many(["x", "y", "z"]), {"x": 1, "y": [2]})
c.end()
