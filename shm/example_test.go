package shm_test

import (
	"errors"
	"fmt"
	"io/fs"
	"log"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/seed-869cc763/shmkv/shm"
)

// open gives an example a store of its own.
func open() (s *shm.Store, closeAndRemove func()) {
	dir, err := os.MkdirTemp("", "shmkv-example-")
	if err != nil {
		log.Fatal(err)
	}
	s, err = shm.Open(filepath.Join(dir, "store"), nil)
	if err != nil {
		log.Fatal(err)
	}
	return s, func() {
		_ = s.Close()
		_ = os.RemoveAll(dir)
	}
}

// Processes of one host open the same directory, and each sees at once what the others
// write. Here two handles stand for two processes.
func ExampleStore() {
	dir, err := os.MkdirTemp("", "shmkv-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "store")

	writer, err := shm.Open(path, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer writer.Close()
	reader, err := shm.Open(path, &shm.Options{ReadOnly: true})
	if err != nil {
		log.Fatal(err)
	}
	defer reader.Close()

	if err := writer.Set([]byte("greeting"), []byte("hello")); err != nil {
		log.Fatal(err)
	}
	value, err := reader.Get([]byte("greeting"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", value)
	err = reader.Set([]byte("greeting"), []byte("good bye"))
	fmt.Println(errors.Is(err, shm.ErrReadOnly))
	// Output:
	// hello
	// true
}

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "shmkv-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	// Every process that opens the directory uses the same store. On
	// /dev/shm it lives in memory only.
	s, err := shm.Open(filepath.Join(dir, "sessions"), &shm.Options{MaxSize: 1 << 30})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	fmt.Println(s.Len(), "entries")
	// Output: 0 entries
}

func ExampleOptions() {
	dir, err := os.MkdirTemp("", "shmkv-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "store")

	// Who only reads a store that others make does not make one by mistake.
	_, err = shm.Open(path, &shm.Options{ReadOnly: true})
	fmt.Println("missing:", errors.Is(err, fs.ErrNotExist))

	// The first to open it decides how large it can grow and who may use it.
	s, err := shm.Open(path, &shm.Options{
		MaxSize: 64 << 20,
		Mode:    0o660, // the group too
		Logger:  slog.Default(),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	fmt.Println("grows to", s.Stats().MaxSize>>20, "MiB")
	// Output:
	// missing: true
	// grows to 64 MiB
}

// A store that is made of a file or a database appears when it is complete, so no process
// ever sees half of it.
func ExampleCreate() {
	dir, err := os.MkdirTemp("", "shmkv-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "cities")

	fill := func(s *shm.Store) error {
		for _, city := range []string{"Lagos", "Lima", "Lyon"} {
			if err := s.Set([]byte(city), nil); err != nil {
				return err
			}
		}
		return nil
	}
	if err := shm.Create(path, nil, fill); err != nil {
		log.Fatal(err)
	}
	err = shm.Create(path, nil, fill)
	fmt.Println("there already:", errors.Is(err, shm.ErrExist))
	// Output: there already: true
}

func ExampleStore_Get() {
	s, done := open()
	defer done()

	if err := s.Set([]byte("greeting"), []byte("hello")); err != nil {
		log.Fatal(err)
	}
	value, err := s.Get([]byte("greeting"))
	fmt.Printf("%s %v\n", value, err)

	_, err = s.Get([]byte("farewell"))
	fmt.Println(errors.Is(err, shm.ErrNotFound))
	// Output:
	// hello <nil>
	// true
}

func ExampleStore_Append() {
	s, done := open()
	defer done()

	_ = s.Set([]byte("a"), []byte("one"))
	_ = s.Set([]byte("b"), []byte("two"))

	// One buffer serves many reads, without an allocation for each.
	var buf []byte
	for _, key := range []string{"a", "b"} {
		var err error
		if buf, err = s.Append(buf[:0], []byte(key)); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", buf)
	}
	// Output:
	// one
	// two
}

func ExampleStore_GetMany() {
	s, done := open()
	defer done()

	_ = s.Set([]byte("a"), []byte("1"))
	_ = s.Set([]byte("c"), []byte("3"))

	// All values are of one version. In a large store this is several times faster
	// than as many Gets.
	keys := [][]byte{[]byte("a"), []byte("b"), []byte("c")}
	err := s.GetMany(keys, func(i int, value []byte, ok bool) {
		fmt.Printf("%s %q %t\n", keys[i], value, ok)
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// a "1" true
	// b "" false
	// c "3" true
}

// The version of an entry tells whether it was written since, without a look at the value.
func ExampleStore_GetVersion() {
	s, done := open()
	defer done()

	key := []byte("page")
	_ = s.Set(key, []byte("<h1>one</h1>"))
	_, before, _ := s.GetVersion(key)
	_ = s.Set([]byte("other"), nil)
	_, after, _ := s.GetVersion(key)
	fmt.Println("the same:", before == after)
	_ = s.Set(key, []byte("<h1>two</h1>"))
	_, after, _ = s.GetVersion(key)
	fmt.Println("the same:", before == after)
	// Output:
	// the same: true
	// the same: false
}
