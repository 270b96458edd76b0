package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// madeStore is the result of backup and restore.
type madeStore struct {
	Path      string     `json:"path"`
	Origin    shm.Origin `json:"origin"`
	Entries   int64      `json:"entries"`
	DataBytes int64      `json:"data_bytes"`
	FileBytes int64      `json:"file_bytes"`
}

// madeDifference is the result of backup --since.
type madeDifference struct {
	Path    string `json:"path"`
	Version uint64 `json:"version"`
	Changes int64  `json:"changes"`
	Bytes   int64  `json:"bytes"`
}

func newBackup() *cobra.Command {
	var since string
	var maxSize bytesValue
	cmd := &cobra.Command{
		Use:   "backup STORE DIR|FILE",
		Short: "Copy one version of a store, or the changes since a backup",
		Long: `backup copies all records of one version of STORE to a new directory DIR, which
must not exist and must be on a local file system. DIR appears when all of it is
on disk, or not at all. Others may write to STORE meanwhile.

The backup is a read-only store: set, incr, del, load and compact refuse it. get,
dump, diff and other verbs that read work on it. stat shows its origin. restore
makes a writable store from it.

With --since, backup writes only the changes from BASE to the current version of
STORE. It writes them to FILE, which must not exist, or to standard output if FILE
is -. BASE is a backup of STORE, or a store that restore made and that nobody has
written to since. backup only reads BASE. It compares the two stores record by
record: the time depends on their size, the space on the changes. restore applies
the changes.`,
		Example: "  shmctl backup /dev/shm/cache /backup/monday\n" +
			"  shmctl backup /dev/shm/cache /backup/tuesday.diff --since /backup/monday",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, rest, err := storeArguments(cmd, args, "STORE DIR|FILE", 1, 1)
			if err != nil {
				return err
			}
			to := rest[0]
			differs := cmd.Flags().Changed("since")
			switch {
			case differs && maxSize != 0:
				return usagef("backup: found --since and --max-size, expected one of them")
			case asJSON(cmd) && to == "-":
				return usagef("backup: found --json with -, expected a FILE")
			}
			return withStore(openToRead, path, func(s *shm.Store) error {
				return interruptible(cmd, func(ctx context.Context) error {
					if differs {
						return backupSince(ctx, cmd, s, since, to)
					}
					return s.View(func(sn *shm.Snapshot) error {
						return makeStore(cmd, to, maxSize, func(o *shm.CopyOptions) error {
							return sn.Backup(ctx, to, o)
						})
					})
				})
			})
		},
	}
	jsonFlag(cmd)
	cmd.Flags().StringVar(&since, "since", "", "write only the changes since `BASE`, a backup")
	cmd.Flags().Var(&maxSize, "max-size", "maximum size of the backup, as in 512MiB (default that of STORE)")
	return cmd
}

func newRestore() *cobra.Command {
	var maxSize bytesValue
	cmd := &cobra.Command{
		Use:   "restore BACKUP [DIFFERENCE...] STORE",
		Short: "Make a store from a backup and later changes",
		Long: `restore makes a new store STORE, which must not exist, from BACKUP and from files
that backup --since has written. The first DIFFERENCE must start at the version of
BACKUP, and each other one at the version to which the one before leads. restore
refuses a difference that does not follow or is damaged. STORE appears when all of
it is on disk, or not at all. restore only reads BACKUP and the differences. A
DIFFERENCE of - is standard input. Without differences STORE has the records of
BACKUP.

STORE is writable. Until the first write it can also serve as a backup of its
version: as BASE of backup --since, and as BACKUP for later differences. Use backup
to make a read-only backup of it.`,
		Example: "  shmctl restore /backup/monday /dev/shm/cache\n" +
			"  shmctl restore /backup/monday /backup/tuesday.diff /backup/tuesday",
		Args: arguments("BACKUP [DIFFERENCE...] STORE", 2, unlimited),
		RunE: func(cmd *cobra.Command, args []string) error {
			var differences []io.Reader
			for _, name := range args[1 : len(args)-1] {
				if name == "-" {
					differences = append(differences, nil) // standard input, see below
					continue
				}
				f, err := os.Open(name)
				if err != nil {
					return err
				}
				defer func() { _ = f.Close() }()
				differences = append(differences, f)
			}
			return interruptible(cmd, func(ctx context.Context) error {
				stdin := sync.OnceValue(func() io.Reader { return untilDone(ctx, cmd.InOrStdin()) })
				for i := range differences {
					if differences[i] == nil {
						differences[i] = stdin()
					}
				}
				base, to := args[0], args[len(args)-1]
				return makeStore(cmd, to, maxSize, func(o *shm.CopyOptions) error {
					return shm.Restore(ctx, base, to, differences, o)
				})
			})
		},
	}
	jsonFlag(cmd)
	cmd.Flags().Var(&maxSize, "max-size", "maximum size of STORE, as in 512MiB (default that of BACKUP)")
	return cmd
}

// interruptible runs a verb and cancels its context on a signal, so that the verb can
// clean up. A second signal ends the process at once.
func interruptible(cmd *cobra.Command, run func(ctx context.Context) error) error {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), signals...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process even while it waits for input
	err := run(ctx)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%s: %w", verbOf(cmd), errInterrupted)
	}
	return err
}

// untilDone returns a reader of in that ends when ctx is done, even while a read of in
// blocks.
func untilDone(ctx context.Context, in io.Reader) io.Reader {
	r, w := io.Pipe()
	go func() {
		_, err := io.Copy(w, in)
		_ = w.CloseWithError(err) // nil means the end of the input
	}()
	context.AfterFunc(ctx, func() { _ = r.CloseWithError(ctx.Err()); _ = w.CloseWithError(ctx.Err()) })
	return r
}

// makeStore runs write, which makes a store at path, and prints a summary of the store.
func makeStore(cmd *cobra.Command, path string, maxSize bytesValue, write func(*shm.CopyOptions) error) error {
	bar := newProgress(cmd.ErrOrStderr(), cmd.Name())
	err := write(&shm.CopyOptions{Progress: bar.show, MaxSize: int64(maxSize)})
	bar.clear()
	if err != nil {
		return err
	}
	return withStore(openToRead, path, func(s *shm.Store) error {
		st := s.Stats()
		return printResult(cmd, madeStore{path, *s.Inspect().Info().Origin, st.Entries, st.DataBytes, st.FileBytes})
	})
}

func (m madeStore) Print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "version %s: %s, %s in a file of %s%s\n", text.Count(m.Origin.Version),
		text.Things(m.Entries, "record", "records"), text.Size(m.DataBytes), text.Size(m.FileBytes), text.PerByte(m.FileBytes, m.DataBytes))
	return err
}

// backupSince writes the changes from the store since to s to a file, which appears when
// it is complete, or to standard output.
func backupSince(ctx context.Context, cmd *cobra.Command, s *shm.Store, since, path string) error {
	return withStore(openToRead, since, func(base *shm.Store) (err error) {
		made := madeDifference{Path: path}
		write := func(w io.Writer) error {
			return base.View(func(older *shm.Snapshot) error {
				return s.View(func(newer *shm.Snapshot) (err error) {
					bar := newProgress(cmd.ErrOrStderr(), cmd.Name())
					made.Version = newer.Version()
					made.Changes, err = newer.BackupSince(ctx, older, w, &shm.CopyOptions{Progress: bar.show})
					bar.clear()
					return err
				})
			})
		}
		if path == "-" {
			return write(cmd.OutOrStdout())
		}
		if made.Bytes, err = writeNew(ctx, path, write); err != nil {
			return err
		}
		return printResult(cmd, made)
	})
}

func (m madeDifference) Print(w io.Writer) error {
	_, err := fmt.Fprintf(w, "version %s: %s, %s\n", text.Count(m.Version), text.Things(m.Changes, "change", "changes"), text.Size(m.Bytes))
	return err
}
