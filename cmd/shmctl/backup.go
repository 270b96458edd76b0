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

// madeStore is a new store that backup or restore has made.
type madeStore struct {
	Path      string     `json:"path"`
	Origin    shm.Origin `json:"origin"`
	Entries   int64      `json:"entries"`
	DataBytes int64      `json:"data_bytes"`
	FileBytes int64      `json:"file_bytes"`
}

// madeDifference is a file that backup --since has written.
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
		Short: "Copy one version of a store, or what changed since",
		Long: `backup makes a backup in DIR, which must not exist, of all records of one
version of STORE. DIR appears when all of it is on disk, or not at all. Others
may write to STORE meanwhile. The backup is a store that can only be read: set,
del, load and compact refuse it, get, dump, diff and others work on it, and
restore makes a store of it. DIR must be on a local file system; stat tells what
it is a backup of.

With --since it writes to FILE, which must not exist either, or to standard
output, only what has to be changed to make STORE's present version of BASE: a
backup of STORE, or a store that restore made of one and that nobody has written
to since. BASE is only read. It
is compared with STORE record by record, so this takes no space for what is
equal, but time. See restore for how such differences are applied.`,
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
				return usagef("backup: found --json, expected a FILE with it: standard output is taken")
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
	cmd.Flags().StringVar(&since, "since", "", "write what changed since `BASE`, a backup")
	cmd.Flags().Var(&maxSize, "max-size", "what the backup may grow to, as in 512MiB (default as STORE)")
	return cmd
}

func newRestore() *cobra.Command {
	var maxSize bytesValue
	cmd := &cobra.Command{
		Use:   "restore BACKUP [DIFFERENCE...] STORE",
		Short: "Make a store of a backup and what changed since",
		Long: `restore makes a new store in STORE, which must not exist, of BACKUP and of the
files that backup --since has written, in their order: the first one since
BACKUP, each other since what its predecessor led to. What does not follow or is
damaged is refused. STORE appears when all of it is on disk, or not at all.
BACKUP and the differences are only read; - is standard input. Without
differences STORE has the records of BACKUP.

STORE can be written to. Until that is done, it can also be used as a backup of
the version that the last difference led to: as BASE of backup --since, and as
BACKUP for later differences. backup makes a backup of it that can only be read.`,
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
	cmd.Flags().Var(&maxSize, "max-size", "what STORE may grow to, as in 512MiB (default as BACKUP)")
	return cmd
}

// interruptible runs a verb that leaves nothing behind when it is interrupted.
func interruptible(cmd *cobra.Command, run func(ctx context.Context) error) error {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as it is under nohup
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), signals...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second one ends it also where it waits for its input
	err := run(ctx)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%s: %w", cmd.Name(), errInterrupted)
	}
	return err
}

// untilDone reads from in until ctx is done, also when in waits for somebody to
// write.
func untilDone(ctx context.Context, in io.Reader) io.Reader {
	r, w := io.Pipe()
	go func() {
		_, err := io.Copy(w, in)
		_ = w.CloseWithError(err) // nil: the end
	}()
	context.AfterFunc(ctx, func() { _ = r.CloseWithError(ctx.Err()); _ = w.CloseWithError(ctx.Err()) })
	return r
}

// makeStore makes a store of a snapshot at path and says what it holds.
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

// backupSince writes what changed to a file, which appears when it is complete.
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
