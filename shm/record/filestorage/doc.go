// Package filestorage reads and writes the files in which Durus, the Python object database, keeps
// objects without a server: those of its FileStorage.
//
//	f, err := filestorage.Open("objects.durus")
//	imported, err := st.Import(ctx, f.Records(nil), nil)
//
//	written, err := filestorage.Write("copy.durus", st.All(), nil)
//
// # Formats
//
// Numbers are big-endian and without a sign. A record is in its packed form, see record.Record.Append.
// The newer format, that of Durus 3.8 and later:
//
//	"SHELF-1\n"
//	transaction            length(8) of the rest, then entries: length(8) of the rest, id(8), record
//	map of offsets         length(8) of the rest, width(8), number(8), and as many offsets of that width
//	more transactions
//
// The map has, at the place of each id of the first transaction, the offset of its entry. Another place is
// a hole: its number is the place of the hole before it plus the offset of the map, and that of the last one
// for the first one. The last place is always a hole.
//
// The older format, that of Durus 3.7 and before:
//
//	"DFS20\x00"
//	offset(8) of the index
//	transactions           entries: length(4) of the record, record; then a length(4) of 0
//	index                  length(8) of the rest, and a compressed pickle
//	more transactions
//
// In both, a later entry of an id takes the place of an earlier one. Neither the map nor the index is
// needed to read all records, so Records reads the file from its beginning to its end, in little memory,
// and yields all entries. A file that Durus writes at the same time may be read: what was appended since
// Open is not.
//
// # A file that ends too early
//
// A crash can leave half of a transaction at the end, which Durus refuses, unless it is told to repair the
// file, and then cuts off. Records returns ErrTorn instead of its entries, after those of the
// transactions before it. In the newer format Durus writes the length of a transaction last: until then it is 0,
// so entries behind a length of 0 are such a half too.
package filestorage
