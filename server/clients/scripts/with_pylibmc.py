"""pylibmc over libmemcached, which speaks both protocols."""

import checks

try:
    import pylibmc
except ImportError as e:
    checks.skip("pylibmc is missing: %s" % e)


def run(c, client, binary):
    client.flush_all()
    c.equal("get of nothing", client.get("a"), None)
    c.equal("set", client.set("a", "1"), True)
    c.equal("get", client.get("a"), "1")
    c.equal("add of what there is", client.add("a", "3"), False)
    c.equal("add", client.add("b", "3"), True)
    if binary:
        c.raises("replace of nothing", pylibmc.NotFound, lambda: client.replace("c", "3"))
    else:
        c.equal("replace of nothing", client.replace("c", "3"), False)
    c.equal("replace", client.replace("b", "4"), True)
    c.equal("append", client.append("b", "5"), True)
    c.equal("prepend", client.prepend("b", "3"), True)
    c.equal("get of what was joined", client.get("b"), "345")
    c.equal("append to nothing", client.append("none", "5"), False)
    for value in 1, 2.5, None, True, "\u20ac", b"bytes", [1, {"a": (2, 3)}]:
        client.set("value", value)
        c.equal("value of type %s" % type(value), client.get("value"), value)

    many = {"m%d" % i: i for i in range(300)}
    c.equal("set_multi", client.set_multi(many), [])
    c.equal("get_multi", client.get_multi(["m%d" % i for i in range(310)]), many)
    c.equal("delete_multi", client.delete_multi(["m%d" % i for i in range(150)]), True)
    c.equal("get_multi after delete_multi", len(client.get_multi(list(many))), 150)

    client.behaviors["cas"] = True
    value, cas = client.gets("a")
    c.equal("gets", value, "1")
    c.equal("cas", client.cas("a", "new", cas), True)
    c.equal("cas with an old number", client.cas("a", "newer", cas), False)
    c.raises("cas of nothing", pylibmc.NotFound, lambda: client.cas("none", "x", cas))
    c.equal("gets of nothing", client.gets("none"), (None, None))
    client.behaviors["cas"] = False

    client.set("n", 10)
    c.equal("incr", client.incr("n", 5), 15)
    c.equal("decr", client.decr("n", 100), 0)
    c.raises("incr of nothing", pylibmc.NotFound, lambda: client.incr("none", 1))
    c.raises("incr of a text", pylibmc.Error, lambda: client.incr("a", 1))
    c.equal("get after a failed incr", client.get("a"), "new")
    if binary:
        client.set("n", 1)
        c.equal("incr_multi", client.incr_multi(["n"], delta=4), None)
        c.equal("get after incr_multi", client.get("n"), 5)

    c.equal("touch", client.touch("a", 100), True)
    c.equal("touch of nothing", client.touch("none", 100), False)
    c.equal("delete", client.delete("a"), True)
    c.equal("delete of nothing", client.delete("a"), False)

    client.set("short", "1", time=1)
    c.gone("an item that expires", lambda: client.get("short"))
    client.set("long", "1")
    client.touch("long", 1)
    c.gone("an item that was touched to expire", lambda: client.get("long"))

    c.equal("set of any bytes", client.set("bytes", checks.EVERY_BYTE), True)
    c.equal("get of any bytes", client.get("bytes"), checks.EVERY_BYTE)
    c.equal("set of a large value", client.set("large", checks.LARGE), True)
    c.true("get of a large value", client.get("large") == checks.LARGE)
    c.raises("set of too large a value", pylibmc.Error, lambda: client.set("large", checks.TOO_LARGE))
    c.equal("get after too large a value", client.get("large"), None)
    c.equal("set after too large a value", client.set("large", "1"), True)
    c.equal("a compressed value", client.set("small", "x" * 100000, min_compress_len=100) and client.get("small"), "x" * 100000)

    c.raises("a key of 251 bytes", (ValueError, pylibmc.Error), lambda: client.get("k" * 251))
    c.equal("a key of 250 bytes", client.set("k" * 250, "1") and client.get("k" * 250), "1")
    stats = client.get_stats()
    c.true("stats", len(stats) == 1 and stats[0][1].get("version") in (b"1.6.18", "1.6.18"), stats)
    c.true("stats settings", client.get_stats("settings")[0][1])
    c.equal("flush_all", client.flush_all(), True)
    c.equal("get after flush_all", client.get("b"), None)


host, port, path = checks.arguments()
c = checks.Checks()
for binary in False, True:
    for server in "%s:%d" % (host, port), path:
        c.where = "pylibmc at %s, binary=%s" % (server, binary)
        run(c, pylibmc.Client([server], binary=binary), binary)
    for behavior in "no_block", "tcp_nodelay":
        c.where = "pylibmc with %s, binary=%s" % (behavior, binary)
        client = pylibmc.Client(["%s:%d" % (host, port)], binary=binary, behaviors={behavior: True})
        for i in range(500):
            client.set("q%d" % i, i)
        c.equal("gets of what was set", client.get_multi(["q%d" % i for i in range(500)]), {"q%d" % i: i for i in range(500)})
c.end()
