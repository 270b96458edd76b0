package main

import (
	"fmt"
	"testing"

	"github.com/seed-869cc763/shmkv/internal/testdir"
)

// Each row of record has a sample of the store.
func TestRecord(t *testing.T) {
	t.Parallel()
	cfg := config{
		works: recordWorks(), recordNs: []int{2000}, seconds: 0.02, rounds: 1, seed: 1,
		dir: testdir.Memory(t), progress: t.Output(),
	}
	if err := cfg.validate(); err != nil {
		t.Fatal(err)
	}
	r, err := runBench(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Failed) > 0 {
		t.Fatal(r.Failed)
	}
	titles := []string{titleRecordOpen, titleRecordServe, titleRecordEmpty}
	for _, where := range []string{"in Go", "unix socket"} {
		titles = append(titles, fmt.Sprintf(titleRecordLoad, where), fmt.Sprintf(titleRecordBulk, where))
		for _, k := range []int{1, 10, 100} {
			for _, what := range []string{"%d changed", "%d new, and what refers to them", "%d new, to which nothing refers"} {
				titles = append(titles, fmt.Sprintf(titleRecordCommit, where, fmt.Sprintf(what, k)))
			}
		}
	}
	for _, what := range []string{"load", "commit of 1 changed", "commit of 10 new, and what refers to them"} {
		for _, q := range []string{"p50", "p99"} {
			title := fmt.Sprintf(titleRecordPack, what, q)
			titles = append(titles, title, title+", beside a collection", title+", divided by that alone")
		}
	}
	for _, title := range titles {
		row := r.row(title, 2000)
		if row == nil {
			t.Errorf("no row %q", title)
		} else if samples := row.Samples[storeName]; len(samples) != 1 || samples[0] <= 0 {
			t.Errorf("%s: samples %v, expected one above 0", title, samples)
		}
	}
}
