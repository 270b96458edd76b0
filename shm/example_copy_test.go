package shm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"path/filepath"

	"github.com/seed-869cc763/shmkv/shm"
)

func ExampleStore_Backup() {
	s, done := open()
	defer done()

	_ = s.Set([]byte("a"), []byte("1"))
	copied := filepath.Join(filepath.Dir(s.Path()), "monday")
	if err := s.Backup(context.Background(), copied); err != nil {
		log.Fatal(err)
	}
	_ = s.Set([]byte("a"), []byte("2"))

	// A backup is a store that can only be read.
	b, err := shm.Open(copied, &shm.Options{ReadOnly: true})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	a, _ := b.Get([]byte("a"))
	fmt.Printf("a %s, of version %d\n", a, b.Inspect().Info().Origin.Version)
	// Output: a 1, of version 2
}

// A full backup, what has changed since, and a store made of both.
func ExampleSnapshot_BackupSince() {
	s, done := open()
	defer done()
	ctx, dir := context.Background(), filepath.Dir(s.Path())
	monday, tuesday := filepath.Join(dir, "monday"), filepath.Join(dir, "tuesday")

	_ = s.Set([]byte("a"), []byte("1"))
	_ = s.Set([]byte("b"), []byte("1"))
	if err := s.Backup(ctx, monday); err != nil {
		log.Fatal(err)
	}
	_ = s.Set([]byte("a"), []byte("2"))
	_, _ = s.Delete([]byte("b"))

	// The backup is compared with what the store is now.
	backup, err := shm.Open(monday, &shm.Options{ReadOnly: true})
	if err != nil {
		log.Fatal(err)
	}
	defer backup.Close()
	base, err := backup.Snapshot()
	if err != nil {
		log.Fatal(err)
	}
	defer base.Close()
	var difference bytes.Buffer // a file, as a rule
	err = s.View(func(sn *shm.Snapshot) error {
		changes, err := sn.BackupSince(ctx, base, &difference, nil)
		fmt.Println(changes, "changes")
		return err
	})
	if err != nil {
		log.Fatal(err)
	}

	if err := shm.Restore(ctx, monday, tuesday, []io.Reader{&difference}, nil); err != nil {
		log.Fatal(err)
	}
	restored, err := shm.Open(tuesday, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer restored.Close()
	a, _ := restored.Get([]byte("a"))
	fmt.Printf("a %s, of %d\n", a, restored.Len())
	// Output:
	// 2 changes
	// a 2, of 1
}

// Without differences, Restore makes a store that can be written to of a backup.
func ExampleRestore() {
	s, done := open()
	defer done()
	ctx, dir := context.Background(), filepath.Dir(s.Path())

	_ = s.Set([]byte("a"), []byte("1"))
	backup, copied := filepath.Join(dir, "backup"), filepath.Join(dir, "copy")
	if err := s.Backup(ctx, backup); err != nil {
		log.Fatal(err)
	}
	if err := shm.Restore(ctx, backup, copied, nil, nil); err != nil {
		log.Fatal(err)
	}
	c, err := shm.Open(copied, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Println(c.Len(), c.Set([]byte("b"), []byte("2")))
	// Output: 1 <nil>
}

// Rewrite gives a store that nobody has open another size.
func ExampleRewrite() {
	s, done := open()
	defer done()
	ctx, path := context.Background(), s.Path()

	_ = s.Set([]byte("a"), []byte("1"))
	err := shm.Rewrite(ctx, path, nil)
	fmt.Println("in use:", errors.Is(err, shm.ErrInUse))

	if err := s.Close(); err != nil {
		log.Fatal(err)
	}
	if err := shm.Rewrite(ctx, path, &shm.CopyOptions{MaxSize: 1 << 20}); err != nil {
		log.Fatal(err)
	}
	s, err = shm.Open(path, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	fmt.Println(s.Len(), "entry, grows to", s.Stats().MaxSize>>20, "MiB")
	// Output:
	// in use: true
	// 1 entry, grows to 1 MiB
}
