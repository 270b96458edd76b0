package record

import "testing"

// BenchmarkLoad loads one of 100,000 records.
func BenchmarkLoad(b *testing.B) {
	st := open(b, b.TempDir(), nil)
	if _, err := st.Import(b.Context(), manyRecords(100_000), nil); err != nil {
		b.Fatal(err)
	}
	s := session(b, st)
	var buf []byte
	i := 0
	for b.Loop() {
		buf, _ = s.Append(buf[:0], ID(i%100_000))
		i += 7919
	}
}

// BenchmarkCommit changes one of 100,000 records in each commit.
func BenchmarkCommit(b *testing.B) {
	st := open(b, b.TempDir(), nil)
	if _, err := st.Import(b.Context(), manyRecords(100_000), nil); err != nil {
		b.Fatal(err)
	}
	s := session(b, st)
	r := rec(0, "01234567890123456789")
	i := 0
	for b.Loop() {
		r.Data[i%20]++
		if err := stores(s, r); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// BenchmarkPack collects among 100,000 records, of which none is garbage in all but the first run.
func BenchmarkPack(b *testing.B) {
	st := open(b, b.TempDir(), nil)
	if _, err := st.Import(b.Context(), manyRecords(100_000), nil); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := st.Pack(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
