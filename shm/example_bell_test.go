package shm_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"

	"github.com/seed-869cc763/shmkv/shm"
)

// A lease is a key with the name of the handle that has it. A dead holder's is anybody's.
func ExampleStore_Bell() {
	s, done := open()
	defer done()
	lease := []byte("lease")
	bell := s.Bell(1) // those of other leases use other numbers

	acquire := func(ctx context.Context) error {
		me, err := s.Owner()
		if err != nil {
			return err
		}
		var failed error
		err = bell.Await(ctx, func() (holder shm.Owner, done bool) {
			failed = s.Modify(lease, func(old []byte, exists bool) ([]byte, bool) {
				holder = 0
				if exists {
					holder = shm.Owner(binary.LittleEndian.Uint64(old))
					if alive, err := s.Alive(holder); alive || err != nil {
						return old, true
					}
				}
				holder = me
				return binary.LittleEndian.AppendUint64(nil, uint64(me)), true
			})
			return holder, holder == me || failed != nil
		})
		if err == nil {
			err = failed
		}
		return err
	}
	release := func() error {
		if _, err := s.Delete(lease); err != nil {
			return err
		}
		return bell.Ring()
	}

	if err := acquire(context.Background()); err != nil {
		log.Fatal(err)
	}
	fmt.Println("this process has the lease")
	if err := release(); err != nil {
		log.Fatal(err)
	}
	// Output: this process has the lease
}
