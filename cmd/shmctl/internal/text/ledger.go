package text

import (
	"fmt"

	"github.com/seed-869cc763/shmkv/shm"
)

// Ledger returns rows of a table that account for each byte of the file.
func Ledger(r shm.Report) [][]string {
	retired := "replaced, not yet reclaimed"
	if r.HeldBytes > 0 {
		retired += "; " + Size(r.HeldBytes) + " of it were deferred for snapshots"
	}
	return [][]string{
		{"live", Size(r.LiveBytes), "blocks that the current version reaches"},
		{"retired", Size(r.RetiredBytes), retired},
		{"in flight", Size(r.InFlightBytes), "of transactions under way"},
		{"free", Size(r.FreeBytes), "blocks, pages and holes"},
		{"tables", Size(r.TableBytes), "header, tables, writers' slots"},
		{"rounding", Size(r.RoundingBytes), "left over in slabs"},
		{"leaked", Size(r.LeakedBytes), "in none of these"},
		{"file", Size(r.FileBytes), "the sum"},
	}
}

// PerByte returns the ratio of space to data as text, or "" if there is no data.
func PerByte(space, data int64) string {
	if data == 0 {
		return ""
	}
	return fmt.Sprintf(", %.2f bytes per byte of data", float64(space)/float64(data))
}
