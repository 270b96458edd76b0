package main

import (
	"expvar"

	"github.com/seed-869cc763/shmkv/server/count"
	"github.com/seed-869cc763/shmkv/server/durus"
	"github.com/seed-869cc763/shmkv/shm"
	"github.com/seed-869cc763/shmkv/shm/shmexpvar"
)

// listenForMetrics opens the listener of metrics, if there is an address for it: those of a server,
// and among the variables of package expvar those of its store too.
func (r *serverRun) listenForMetrics(address, protocol string, s *shm.Store, stats func() any, metrics func() []metric) error {
	if address == "" {
		return nil
	}
	if err := shmexpvar.Publish("store", s); err != nil {
		return err
	}
	expvar.Publish(protocol, expvar.Func(stats))
	return r.listenMetrics(address, metrics)
}

func countdMetrics(st count.Stats) []metric {
	return []metric{
		{"shmctl_countd_connections", "Open connections.", true, float64(st.Connections)},
		{"shmctl_countd_connections_total", "Connections that were accepted.", false, float64(st.Accepted)},
		{"shmctl_countd_connections_refused_total", "Connections that were refused.", false, float64(st.Refused)},
		{"shmctl_countd_increments_total", "Increments that were answered.", false, float64(st.Increments)},
		{"shmctl_countd_increments_unanswered_total", "Increments that were refused, or came behind one that was.", false, float64(st.Unanswered)},
		{"shmctl_countd_commits_total", "Commits of increments.", false, float64(st.Commits)},
		{"shmctl_countd_reads_total", "Requests for rows.", false, float64(st.Reads)},
	}
}

func durusMetrics(st durus.Stats) []metric {
	return []metric{
		{"shmctl_durus_connections", "Open connections.", true, float64(st.Connections)},
		{"shmctl_durus_connections_total", "Connections that were accepted.", false, float64(st.Accepted)},
		{"shmctl_durus_connections_refused_total", "Connections that were refused.", false, float64(st.Refused)},
		{"shmctl_durus_loads_total", "Records that clients asked for.", false, float64(st.Loads)},
		{"shmctl_durus_commits_total", "Commits that were made.", false, float64(st.Commits)},
		{"shmctl_durus_conflicts_total", "Commits that were not made, because of a conflict.", false, float64(st.Conflicts)},
	}
}
