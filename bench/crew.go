package main

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"
)

// runTogether executes tasks at the same time, each in its own process. When all are ready it calls ready, unless
// that is nil. Then it starts the clocks of the first tasks, and after settle those of the later tasks. The results
// are in the order of the tasks. If a task fails, runTogether ends the others and returns its error.
func runTogether(ctx context.Context, p peer, first, later []task, ready func() error) (results []result, err error) {
	ctx, stop := context.WithCancel(ctx)
	tasks := append(first[:len(first):len(first)], later...)
	children, err := startAll(ctx, p, tasks)
	defer func() {
		stop()
		for _, c := range children {
			c.end()
		}
	}()
	if err == nil && ready != nil {
		err = ready()
	}
	if err != nil {
		return nil, err
	}
	for i, c := range children {
		if i == len(first) {
			time.Sleep(settle)
		}
		c.release()
	}
	results = make([]result, len(children))
	var waiting sync.WaitGroup
	var failed sync.Once
	for i, c := range children {
		waiting.Go(func() {
			r, failure := c.waitWhole()
			r.at = time.Now()
			results[i] = r
			if failure != nil {
				failed.Do(func() { err = failure }) // stop may have caused later errors
				stop()
			}
		})
	}
	waiting.Wait()
	return results, err
}

// startAll starts a child for each task, all at the same time, and returns when all are ready. After an error it also
// returns the children that have started.
func startAll(ctx context.Context, p peer, tasks []task) (children []*child, err error) {
	started, errs := make([]*child, len(tasks)), make([]error, len(tasks))
	var starting sync.WaitGroup
	for i, t := range tasks {
		starting.Go(func() { started[i], errs[i] = start(ctx, p, t) })
	}
	starting.Wait()
	for i, c := range started {
		if c != nil {
			children = append(children, c)
		}
		err = cmp.Or(err, errs[i])
	}
	return children, err
}

// copies returns copies of a task that draw different keys.
func (t task) copies(n int) []task {
	tasks := make([]task, n)
	for i := range tasks {
		if i > 0 {
			t.seed = splitmix64(t.seed + uint64(i))
		}
		tasks[i] = t
	}
	return tasks
}

// inSum runs a task in several processes at the same time and returns the nanoseconds per operation of all together.
func inSum(ctx context.Context, p peer, t task, processes int) (float64, error) {
	if p.alone {
		return inSumOfOne(ctx, p, t, processes)
	}
	results, err := runTogether(ctx, p, t.copies(processes), nil, nil)
	if err != nil {
		return 0, err
	}
	return 1e6 / sumPerSecond(results), nil
}

// sumPerSecond returns the sum of the operations a second, in thousands.
func sumPerSecond(results []result) (sum float64) {
	for _, r := range results {
		sum += r.perSecond()
	}
	return sum
}

// inSumOfOne runs a task with several workers of one process at the same time.
func inSumOfOne(ctx context.Context, p peer, t task, workers int) (float64, error) {
	t.workers = workers
	r, err := runWhole(ctx, p, t)
	return r.nanosPerOp(), err
}

// settle is the time from the start of the writers to the start of the reader beside them.
const settle = 100 * time.Millisecond

var errOutlasted = errors.New("the reader took longer than the writers beside it")

// besideWriters executes a task while several other processes overwrite, and returns the results of all.
func besideWriters(ctx context.Context, p peer, t task, writers int) (r result, beside []result, err error) {
	for seconds := 1.25*t.seconds + 4*settle.Seconds(); ; seconds *= 2 {
		sets := t
		sets.work, sets.seed, sets.seconds = "set", splitmix64(t.seed), seconds
		results, err := runTogether(ctx, p, sets.copies(writers), []task{t}, nil)
		if err != nil {
			return r, nil, err
		}
		r, beside = results[writers], results[:writers]
		outlasted := false
		for _, w := range beside {
			outlasted = outlasted || w.at.Before(r.at)
		}
		if !outlasted {
			return r, beside, nil
		}
		if seconds > 60 {
			return r, beside, errOutlasted
		}
	}
}
