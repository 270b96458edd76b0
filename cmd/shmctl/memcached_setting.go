package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/seed-869cc763/shmkv/server/memcache"
)

// lines returns what stats settings shows of the command line, beside what the server knows.
func (s *memcachedSettings) lines() []memcache.Setting {
	port, inter, socket := "0", "NULL", "NULL"
	if len(s.addresses) > 0 {
		port, inter = strconv.Itoa(s.port), strings.Join(s.addresses, ",")
	}
	if s.socket != "" {
		socket = s.socket
	}
	all := []memcache.Setting{
		{Name: "tcpport", Value: port},
		{Name: "inter", Value: inter},
		{Name: "domain_socket", Value: socket},
		{Name: "umask", Value: fmt.Sprintf("%o", s.mask)},
		{Name: "num_threads", Value: strconv.Itoa(s.threads)},
		{Name: "tcp_backlog", Value: strconv.Itoa(s.backlog)},
	}
	if s.noEvict {
		all = append(all, memcache.Setting{Name: "evictions", Value: "off"})
	}
	if s.memoryFile != "" {
		all = append(all, memcache.Setting{Name: "memory_file", Value: s.memoryFile})
	}
	return all
}
