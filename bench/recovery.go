package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/alloc/layout"
	"github.com/seed-869cc763/shmkv/shm"
)

const (
	titleRecovery = "open after a crash of the system"
	titleClean    = "open after a close"
)

// measureRecovery measures the open of a store after a crash of the system, and after a close. It does so while the
// store's pages are in memory, and after the kernel has dropped them, as a real crash does.
func measureRecovery(ctx context.Context, b *bench, p peer, t task) error {
	if goPeers[p.name].stats == nil {
		return errUnsupported
	}
	for _, c := range []struct {
		pages string
		begin func(path string) error
	}{
		{", pages in memory", func(string) error { return nil }},
		{", pages on the disk", dropPages},
	} {
		if err := crash(ctx, p, t); err != nil {
			return err
		}
		took, rec, err := timeOpen(t.path, c.begin)
		if err != nil {
			return err
		}
		if rec == nil {
			return errors.New("the store did not recover")
		}
		b.report.add(titleRecovery+c.pages, t.n, nanosPerOp, p, float64(took))
		b.report.add(titleRecovery+c.pages+": recovery", t.n, nanosPerOp, p, float64(rec.Duration))
		b.report.add(titleRecovery+c.pages+": entries", t.n, count, p, float64(rec.Entries))
		b.report.add(titleRecovery+c.pages+": bytes of blocks", t.n, count, p, float64(rec.Bytes))
		if took, rec, err = timeOpen(t.path, c.begin); err != nil {
			return err
		}
		if rec != nil {
			return errors.New("the store recovered after a close")
		}
		b.report.add(titleClean+c.pages, t.n, nanosPerOp, p, float64(took))
	}
	return nil
}

// crash leaves a store as a crash of the system does: a process that has it open for writing is killed, and then the
// files are those of another boot.
func crash(ctx context.Context, p peer, t task) error {
	t.work = "hold"
	c, err := start(ctx, p, t)
	if err != nil {
		return err
	}
	if err := c.kill(); err != nil {
		return err
	}
	return errors.Join(
		setBoot(filepath.Join(t.path, "data"), layout.OffBoot),
		setBoot(filepath.Join(t.path, "procs"), layout.OffProcsBoot),
	)
}

// setBoot replaces the word of this boot in a file by that of another one.
func setBoot(file string, off int64) (err error) {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var word [8]byte
	if _, err := f.ReadAt(word[:], off); err != nil {
		return err
	}
	if binary.NativeEndian.Uint64(word[:]) == 0 {
		return fmt.Errorf("%s: found no boot at offset %#x, expected that of the killed process", file, off)
	}
	binary.NativeEndian.PutUint64(word[:], uint64(layout.BootOf("another boot")))
	_, err = f.WriteAt(word[:], off)
	return err
}

// dropPages makes the kernel write the pages of a store's data to the disk and drop them. Nobody may have them mapped.
func dropPages(path string) (err error) {
	f, err := os.OpenFile(filepath.Join(path, "data"), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
}

// timeOpen measures the time to open a store, after begin. It closes the store.
func timeOpen(path string, begin func(path string) error) (took time.Duration, rec *shm.Recovery, err error) {
	if err := begin(path); err != nil {
		return 0, nil, err
	}
	began := time.Now()
	s, err := shm.Open(path, &shm.Options{MustExist: true})
	if err != nil {
		return 0, nil, err
	}
	took = time.Since(began)
	return took, s.Recovery(), s.Close()
}
