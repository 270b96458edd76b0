package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seed-869cc763/shmkv/shm/record"
)

// A policyForm is a policy as it is written on the command line: a name, and with value something
// after an equals sign.
type policyForm[P any] struct {
	name  string
	value string // what it is; empty without one
	parse func(value string) (P, bool)
}

func always[P any](p P) func(string) (P, bool) { return func(string) (P, bool) { return p, true } }

func duration[P any](policy func(time.Duration) P) func(string) (P, bool) {
	return func(s string) (p P, ok bool) {
		d, err := time.ParseDuration(s)
		if err != nil || d <= 0 {
			return p, false
		}
		return policy(d), true
	}
}

func positive[N int | int64, P any](policy func(N) P) func(string) (P, bool) {
	return func(s string) (p P, ok bool) {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n <= 0 {
			return p, false
		}
		return policy(N(n)), true
	}
}

func fraction[P any](policy func(float64) P) func(string) (P, bool) {
	return func(s string) (p P, ok bool) {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || !(f > 0 && f < 1) {
			return p, false
		}
		return policy(f), true
	}
}

var garbageForms = []policyForm[record.GarbagePolicy]{
	{"manual", "", always(record.Manual())},
	{"off", "", always(record.Off())},
	{"idle", "a duration such as 1m", duration(record.WhenIdle)},
	{"commit", "a number of records", positive(record.PerCommit)},
	{"share", "a number between 0 and 1", fraction(record.PastShare)},
	{"bytes", "a number of bytes", positive(record.PastBytes)},
}

var checkpointForms = []policyForm[record.CheckpointPolicy]{
	{"never", "", always(record.Never())},
	{"commit", "", always(record.EveryCommit())},
	{"commits", "a number of commits", positive(record.EveryCommits)},
	{"bytes", "a number of bytes", positive(record.EveryBytes)},
	{"every", "a duration such as 10s", duration(record.Every)},
	{"quiet", "a duration such as 1s", duration(record.AfterQuiet)},
}

func parseGarbage(s string) (record.GarbagePolicy, error) {
	return parsePolicy("garbage", s, garbageForms)
}

// parseCheckpoint returns nil, which is the default, for nothing.
func parseCheckpoint(s string) (record.CheckpointPolicy, error) {
	if s == "" {
		return nil, nil
	}
	return parsePolicy("checkpoint", s, checkpointForms)
}

func parsePolicy[P any](flag, s string, forms []policyForm[P]) (p P, err error) {
	name, value, hasValue := strings.Cut(s, "=")
	var names []string
	for _, f := range forms {
		if f.name != name {
			names = append(names, f.name)
			continue
		}
		if hasValue == (f.value != "") {
			if p, ok := f.parse(value); ok {
				return p, nil
			}
		}
		if f.value == "" {
			return p, fmt.Errorf("found --%s %s, expected %s without a value", flag, s, name)
		}
		return p, fmt.Errorf("found --%s %s, expected %s= and %s", flag, s, name, f.value)
	}
	return p, fmt.Errorf("found --%s %q, expected one of %s", flag, s, strings.Join(names, ", "))
}
