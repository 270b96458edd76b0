package region

// Op names a kind of access to shared memory, for the hook.
type Op uint8

// The kinds of access.
const (
	OpLoad  Op = iota // atomic load
	OpStore           // atomic store
	OpCAS
	OpOr
	OpAnd
	OpAdd
	OpRead  // plain read of a word or of bytes
	OpWrite // plain write of a word or of bytes
	OpCall  // a system call on the file: fallocate, hole punch, lock, futex
	OpFence // see LoadFence
	OpYield // the goroutine waits for another goroutine of its process
)

// Changes reports whether an access of this kind can change memory.
func (o Op) Changes() bool {
	return o != OpLoad && o != OpRead && o != OpFence && o != OpCall && o != OpYield
}

func (o Op) String() string {
	return [...]string{"load", "store", "cas", "or", "and", "add", "read", "write", "call", "fence", "yield"}[o]
}
