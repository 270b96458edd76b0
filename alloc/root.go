package alloc

import (
	"fmt"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/alloc/region"
)

// Root is a pinned version and its root node.
type Root struct {
	Off     uint64
	Version uint64
}

// PayloadWords is the number of words of a root node for the layer above.
const PayloadWords = (layout.RootSize - layout.RootPayload) / 8

// PayloadAt is the offset of the payload of the root node at off.
func PayloadAt(off uint64) uint64 { return off + layout.RootPayload }

// PayloadOff is where the root node's payload of PayloadWords words lies.
func (r Root) PayloadOff() uint64 { return r.Off + layout.RootPayload }

// rootNode checks the root node of a pinned version.
func (a *Arena) rootNode(word layout.RootWord, version uint64) (Root, error) {
	off := word.Off()
	if h := a.ro.Load(layout.OffHorizon); h > layout.MaxVersion {
		return Root{}, region.Corrupt(layout.OffHorizon, "horizon", fmt.Sprintf("%#x", h), "a version")
	}
	limit, err := a.Limit()
	if err != nil {
		return Root{}, err
	}
	if off%8 != 0 || off < layout.Segments[0].First || off > limit-layout.RootSize {
		return Root{}, region.Corrupt(layout.OffRoot, "root word", fmt.Sprintf("%#x", word), fmt.Sprintf("an offset below %d", limit))
	}
	if birth := a.ro.Word(off + layout.RootBirth); birth != version {
		return Root{}, region.Corrupt(off, "birth of the root node", birth, fmt.Sprint(version))
	}
	return Root{off, version}, nil
}

// current returns the root word and its version.
func (a *Arena) current() (word layout.RootWord, version uint64) {
	for {
		h := a.ro.Load(layout.OffHorizon)
		word = layout.RootWord(a.ro.Load(layout.OffRoot))
		version = word.VersionFrom(h)
		if a.ro.Load(layout.OffHorizon) <= version || h > layout.MaxVersion {
			return word, version
		}
	}
}

// Version returns the current version. It reads only the root word and the horizon, which
// are always mapped. If the caller is no user of the handle, the result counts if the
// handle is not Closed afterwards.
func (a *Arena) Version() uint64 {
	_, version := a.current()
	return version
}

// VersionOf returns the version of a Stamp, which counts if it is Valid.
func (a *Arena) VersionOf(g Stamp) uint64 { return g.word.VersionFrom(g.horizon) }
