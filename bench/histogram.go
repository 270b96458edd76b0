package main

import "github.com/HdrHistogram/hdrhistogram-go"

// newHistogram returns a histogram of nanoseconds, up to a minute, with an error of at most a hundredth.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 60e9, 2) }

// pairsOf returns the contents of a histogram as pairs of a value and its count.
func pairsOf(h *hdrhistogram.Histogram) (pairs [][2]int64) {
	if h == nil {
		return nil
	}
	for _, bar := range h.Distribution() {
		if bar.Count > 0 {
			pairs = append(pairs, [2]int64{bar.To, bar.Count})
		}
	}
	return pairs
}

// histogramOf is the inverse of pairsOf.
func histogramOf(pairs [][2]int64) (*hdrhistogram.Histogram, error) {
	h := newHistogram()
	for _, p := range pairs {
		if err := h.RecordValues(p[0], p[1]); err != nil {
			return nil, err
		}
	}
	return h, nil
}
