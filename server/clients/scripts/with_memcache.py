"""python-memcached, which speaks the text protocol."""

import checks

try:
    import memcache
except ImportError as e:
    checks.skip("python-memcached is missing: %s" % e)


def run(c, client):
    client.flush_all()
    c.equal("get of nothing", client.get("a"), None)
    c.true("set", client.set("a", "1"))
    c.equal("get", client.get("a"), "1")
    c.true("add of what there is", not client.add("a", "3"))
    c.true("add", client.add("b", "3"))
    c.true("replace of nothing", not client.replace("c", "3"))
    c.true("replace", client.replace("b", "4"))
    c.true("append", client.append("b", "5"))
    c.true("prepend", client.prepend("b", "3"))
    c.equal("get of what was joined", client.get("b"), "345")
    for value in 1, 2.5, None, True, "\u20ac", b"bytes", [1, {"a": (2, 3)}]:
        client.set("value", value)
        c.equal("value of type %s" % type(value), client.get("value"), value)

    many = {"m%d" % i: i for i in range(300)}
    c.equal("set_multi", client.set_multi(many), [])
    c.equal("get_multi", client.get_multi(["m%d" % i for i in range(310)]), many)
    c.true("delete_multi", client.delete_multi(["m%d" % i for i in range(150)]))
    c.equal("get_multi after delete_multi", len(client.get_multi(list(many))), 150)

    client.cache_cas = True
    other.set("a", "1")
    c.equal("gets", client.gets("a"), "1")
    c.true("cas", client.cas("a", "new"))
    client.gets("a")
    other.set("a", "changed")
    c.true("cas after another set", not client.cas("a", "newer"))
    c.equal("get after a failed cas", client.get("a"), "changed")
    client.reset_cas()

    client.set("n", 10)
    c.equal("incr", client.incr("n", 5), 15)
    c.equal("decr", client.decr("n", 100), 0)
    c.equal("incr of nothing", client.incr("none", 1), None)

    c.true("touch", client.touch("a", 100))
    c.true("touch of nothing", not client.touch("none", 100))
    c.true("delete", client.delete("a"))
    c.equal("get after delete", client.get("a"), None)
    client.set("short", "1", time=1)
    c.gone("an item that expires", lambda: client.get("short"))

    c.true("set of any bytes", client.set("bytes", checks.EVERY_BYTE))
    c.equal("get of any bytes", client.get("bytes"), checks.EVERY_BYTE)
    c.true("set of a large value", client.set("large", checks.LARGE))
    c.true("get of a large value", client.get("large") == checks.LARGE)
    client.server_max_value_length = 0  # so that it asks the server
    c.true("set of too large a value", not client.set("large", checks.TOO_LARGE))
    c.equal("get after too large a value", client.get("large"), None)
    c.raises("a key of 251 bytes", memcache.Client.MemcachedKeyLengthError, lambda: client.get("k" * 251))
    c.true("a key of 250 bytes", client.set("k" * 250, "1"))
    stats = client.get_stats()
    c.true("stats", len(stats) == 1 and stats[0][1].get("version") == "1.6.18", stats)
    client.flush_all()
    c.equal("get after flush_all", client.get("b"), None)


host, port, path = checks.arguments()
c = checks.Checks()
for server in "%s:%d" % (host, port), "unix:" + path:
    c.where = "python-memcached at %s" % server
    other = memcache.Client([server])
    run(c, memcache.Client([server]))
c.end()
