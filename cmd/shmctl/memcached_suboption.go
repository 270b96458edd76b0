package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// memcachedExtended is what the values of -o mean to a server here.
type memcachedExtended struct {
	idle      time.Duration // after which an idle connection is closed; 0: never
	connsWait bool          // connections beyond the limit wait to be accepted, and are not refused
	noCrawler bool          // clients find that the LRU crawler is off
}

// A suboption is a value of -o.
type suboption struct {
	name string
	// The number after =. With neither, the value has none, or may have anything.
	whole    bool
	fraction bool
	optional bool // the number may be missing
	from, to float64
	words    []string // one of these, in place of a number
	text     bool     // anything but nothing, in place of a number
	// use uses the number. nil means that the value is accepted, and changes nothing.
	use func(e *memcachedExtended, n int)
}

const anyNumber = math.MaxInt32

// suboptions are the values of -o that memcached has when it is built without TLS, the proxy
// and external storage. Their bounds are memcached's.
var suboptions = []suboption{
	{name: "idle_timeout", whole: true, to: anyNumber, use: func(e *memcachedExtended, n int) { e.idle = time.Duration(n) * time.Second }},
	{name: "maxconns_fast", use: func(e *memcachedExtended, _ int) { e.connsWait = false }},
	{name: "no_maxconns_fast", use: func(e *memcachedExtended, _ int) { e.connsWait = true }},
	{name: "lru_crawler", use: func(e *memcachedExtended, _ int) { e.noCrawler = false }},
	{name: "no_lru_crawler", use: func(e *memcachedExtended, _ int) { e.noCrawler = true }},
	{name: "no_modern", use: func(e *memcachedExtended, _ int) { e.connsWait, e.noCrawler = true, true }},

	{name: "modern"},
	{name: "relaxed_privileges"},
	{name: "drop_privileges"},
	{name: "no_drop_privileges"},
	{name: "hashpower", whole: true, from: 12, to: 32},
	{name: "no_hashexpand"},
	{name: "hash_algorithm", words: []string{"jenkins", "murmur3", "xxh3"}},
	{name: "tail_repair_time", whole: true, from: 10, to: anyNumber},
	{name: "slab_reassign"},
	{name: "no_slab_reassign"},
	{name: "slab_automove", whole: true, optional: true, to: 2},
	{name: "no_slab_automove"},
	{name: "slab_automove_ratio", fraction: true, to: 1},
	{name: "slab_automove_window", whole: true, from: 3, to: anyNumber},
	{name: "slab_sizes", text: true},
	{name: "slab_chunk_max", whole: true, from: 1, to: anyNumber},
	{name: "no_chunked_items"},
	{name: "lru_crawler_sleep", whole: true, to: 1_000_000},
	{name: "lru_crawler_tocrawl", whole: true, to: math.MaxUint32},
	{name: "lru_maintainer"},
	{name: "no_lru_maintainer"},
	{name: "hot_lru_pct", whole: true, from: 1, to: 79},
	{name: "warm_lru_pct", whole: true, from: 1, to: 79},
	{name: "hot_max_factor", fraction: true, to: anyNumber},
	{name: "warm_max_factor", fraction: true, to: anyNumber},
	{name: "temporary_ttl", whole: true, to: anyNumber},
	{name: "track_sizes"},
	{name: "inline_ascii_resp"},
	{name: "no_inline_ascii_resp"},
	{name: "read_buf_mem_limit", whole: true, to: anyNumber},
	{name: "resp_obj_mem_limit", whole: true, optional: true, to: anyNumber},
	{name: "watcher_logbuf_size", whole: true, to: anyNumber},
	{name: "worker_logbuf_size", whole: true, to: anyNumber},
	{name: "sock_cookie_id", whole: true, to: math.MaxUint32},
}

// refusedSuboptions are the beginnings of those that ask for what is not served.
var refusedSuboptions = []struct{ prefix, what string }{
	{"ext_", "external storage"},
	{"ssl_", "TLS"},
	{"proxy_", "the proxy"},
}

// parse sets what the lists of values say, in their order.
func (e *memcachedExtended) parse(lists []string) error {
	for _, list := range lists {
		for item := range strings.SplitSeq(list, ",") {
			if item == "" {
				continue
			}
			if err := e.parseOne(item); err != nil {
				return fmt.Errorf("found -o %s, expected %w", item, err)
			}
		}
	}
	return nil
}

func (e *memcachedExtended) parseOne(item string) error {
	name, value, given := strings.Cut(item, "=")
	i := slices.IndexFunc(suboptions, func(o suboption) bool { return o.name == name })
	if i < 0 {
		for _, r := range refusedSuboptions {
			if strings.HasPrefix(name, r.prefix) {
				return fmt.Errorf("no %s*: %s is not served", r.prefix, r.what)
			}
		}
		return fmt.Errorf("one of the values that shmctl serve memcached --help lists")
	}
	n, err := suboptions[i].number(value, given)
	if err == nil && suboptions[i].use != nil {
		suboptions[i].use(e, n)
	}
	return err
}

// number checks what is after =, and returns it if it is a whole number.
func (o *suboption) number(value string, given bool) (int, error) {
	switch {
	case o.words != nil:
		if !slices.Contains(o.words, value) {
			return 0, fmt.Errorf("%s=%s", o.name, strings.Join(o.words, " or "))
		}
	case o.text:
		if value == "" {
			return 0, fmt.Errorf("a value after %s=", o.name)
		}
	case o.whole:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || float64(n) < o.from || float64(n) > o.to {
			if o.optional && !given {
				return 0, nil
			}
			return 0, fmt.Errorf("%s=N with N from %.0f to %.0f", o.name, o.from, o.to)
		}
		return int(n), nil
	case o.fraction:
		if v, err := strconv.ParseFloat(value, 64); err != nil || !(v > 0 && v <= o.to) {
			return 0, fmt.Errorf("%s=N with N greater than 0 and at most %.0f", o.name, o.to)
		}
	}
	return 0, nil
}

// usedSuboptions and ignoredSuboptions return the names for the help.
func usedSuboptions() []string    { return suboptionNames(true) }
func ignoredSuboptions() []string { return suboptionNames(false) }

// helpless are left out of the help: memcached's tests take the name in it for the feature.
var helpless = []string{"drop_privileges", "no_drop_privileges"}

func suboptionNames(used bool) (names []string) {
	for _, o := range suboptions {
		if used != (o.use != nil) || slices.Contains(helpless, o.name) {
			continue
		}
		name := o.name
		if o.whole || o.fraction || o.words != nil || o.text {
			name += "=N"
		}
		names = append(names, name)
	}
	return names
}
