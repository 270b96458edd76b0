package main

import (
	"context"
	"errors"
	"fmt"
)

// values is one round with values of one size, in stores of up to 256 MiB: getting and setting them. What bounds
// both, where values are large, is copying memory, which the peer "memory" does alone.
func (b *bench) values(ctx context.Context, bytes, round int) {
	n := min(max((256<<20)/bytes, 16), 100_000)
	taskOf := func(p peer, work string) task {
		t := b.speedTask(p, work, n, round)
		t.value, t.capacity = bytes, capacity(n, bytes)
		return t
	}
	var loaded []peer
	for i := range b.peers {
		p := b.peers[(i+round)%len(b.peers)]
		progress(ctx, "round %d of %d, values of %s: %s: load", round+1, b.rounds, byteSize(bytes), p.name)
		t := taskOf(p, "load")
		t.ops = n
		drop, err := b.makeStore(ctx, p, t)
		defer drop()
		if err == nil {
			_, err = runWhole(ctx, p, t)
		}
		if err != nil {
			b.report.fail(p, t, err)
			continue
		}
		loaded = append(loaded, p)
	}
	for _, work := range []string{"get", "set"} {
		for _, p := range loaded {
			progress(ctx, "round %d of %d, values of %s: %s: %s", round+1, b.rounds, byteSize(bytes), p.name, work)
			t := taskOf(p, work)
			t.seconds = b.seconds
			if work == "set" {
				t.warm = n / 4
			}
			r, err := runWhole(ctx, p, t)
			if err == nil {
				b.report.add(fmt.Sprintf("%s, values of %s", work, byteSize(bytes)), n, nanosPerOp, p, r.nanosPerOp())
			} else if !errors.Is(err, errUnsupported) {
				b.report.fail(p, t, err)
			}
		}
	}
}

// byteSize writes a number of bytes in the largest unit that leaves a whole number.
func byteSize(bytes int) string {
	switch {
	case bytes >= 1<<20 && bytes%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", bytes>>20)
	case bytes >= 1<<10 && bytes%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", bytes>>10)
	}
	return fmt.Sprintf("%d B", bytes)
}
