package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// longSnapshot is the age of an open snapshot from which doctor warns.
const longSnapshot = time.Hour

// longCheckpoint is the age of a checkpoint from which doctor warns if there are newer
// versions.
const longCheckpoint = time.Minute

// examineStore runs the checks of the store and returns its maximum size in bytes.
func (d *doctor) examineStore() (maxSize int64) {
	d.permissions()
	d.leftovers()
	d.removed()
	d.logout()
	if r, err := shm.Recover(d.Path, &shm.RecoverOptions{DryRun: true}); err == nil && r != nil {
		d.find("store", Warning, "shmctl recover "+d.Path+", or any program that opens the store for writing, makes it that",
			"the system has crashed while it was open: its last durable version is %s, %s; its checkpoint has %s",
			text.Count(r.Version), text.Ago(d.now.Add(-r.Age), d.now), text.Things(r.Entries, "entry", "entries"))
		return defaultMaxSize
	}
	s, err := shm.Open(d.Path, &shm.Options{ReadOnly: true, MustExist: true})
	if err != nil {
		advice := ""
		switch {
		case errors.Is(err, shm.ErrCorrupt) && errors.Is(err, fs.ErrNotExist):
			advice = "name the directory of a store"
		case errors.Is(err, shm.ErrCorrupt):
			advice = "restore a backup, or remove the directory"
		case errors.Is(err, shm.ErrRecover):
			advice = "run doctor as a user who may write to it; without a checkpoint, restore a backup"
		case errors.Is(err, fs.ErrPermission):
			advice = "run doctor as a user who may read it"
		case errors.Is(err, fs.ErrNotExist):
			advice = "a program that opens it without MustExist creates it"
		case errors.Is(err, shm.ErrVersion):
			advice = "use the shmctl of the version that made the store"
		case errors.Is(err, shm.ErrTooManyProcesses):
			advice = "close handles that are not needed: a process needs only one for each store"
		}
		d.find("store", Problem, advice, "%s", text.OneLine(err))
		return defaultMaxSize
	}
	defer func() { _ = s.Close() }()
	st := s.Stats()
	if st.FileBytes == 0 { // Stats could not read the root
		d.find("store", Problem, "restore a backup, or remove the directory", "it is damaged: the root cannot be read")
		return defaultMaxSize
	}
	d.find("store", OK, "", "format %d, version %s, %s", s.Inspect().Info().Format, text.Count(st.Version), text.Things(st.Entries, "entry", "entries"))
	d.fullness(st)
	d.checkpoint(st)
	all, err := s.Inspect().Processes()
	if err != nil {
		d.find("processes", Warning, "run doctor as a user who may write the file procs", "%s", text.OneLine(err))
		return st.MaxSize
	}
	d.processes(all)
	d.snapshots(all, st.Version)
	return st.MaxSize
}

// permissions checks the permissions of the store's files.
func (d *doctor) permissions() {
	modes := map[string]fs.FileMode{}
	for _, name := range []string{".", "data", "procs"} {
		st, err := os.Stat(filepath.Join(d.Path, name))
		if err != nil {
			return // the error of Open says more
		}
		modes[name] = st.Mode()
	}
	ok := true
	for _, name := range []string{".", "data", "procs"} {
		if m := modes[name]; m&0o002 != 0 && (name != "." || m&fs.ModeSticky == 0) {
			ok = false
			d.find("permissions", Warning, "chmod o-w "+filepath.Join(d.Path, name), "anybody may write %s (%v)", filepath.Join(d.Path, name), m)
		}
	}
	for _, bits := range []fs.FileMode{0o040, 0o004} { // of the group, of others
		if modes["data"]&bits != 0 && modes["procs"]&(bits>>1) == 0 {
			ok = false
			d.find("permissions", Warning, "let users who may read data write procs as well",
				"data is %v, procs %v: some users may read single keys, but not take snapshots or wait", modes["data"], modes["procs"])
			break
		}
	}
	if !ok {
		return
	}
	may := "read and write"
	switch {
	case unix.Access(filepath.Join(d.Path, "data"), unix.R_OK) != nil:
		may = "not read"
	case unix.Access(filepath.Join(d.Path, "procs"), unix.W_OK) != nil:
		may = "read, without snapshots,"
	case unix.Access(filepath.Join(d.Path, "data"), unix.W_OK) != nil:
		may = "read"
	}
	d.find("permissions", OK, "", "data is %v, procs %v; this user may %s it", modes["data"], modes["procs"], may)
}

// leftovers looks for files of an incomplete creation.
func (d *doctor) leftovers() {
	names, _ := filepath.Glob(filepath.Join(d.Path, "tmp-*"))
	if len(names) > 0 {
		d.find("leftovers", Warning, "the next process that opens the store for writing removes the files of dead processes",
			"a process is creating the store, or died doing so: found %s", filepath.Base(names[0]))
	}
}

func (d *doctor) fullness(st shm.Stats) {
	found := fmt.Sprintf("%s of at most %s, %s of it free", text.Size(st.FileBytes), text.Size(st.MaxSize), text.Size(st.FreeBytes))
	if used := st.FileBytes - st.FreeBytes; used > st.MaxSize/10*9 {
		d.find("fullness", Warning, "dump it and load it into a store with a larger --max-size: soon writes will fail with ErrFull", "%s", found)
		return
	}
	d.find("fullness", OK, "", "%s", found)
}

// checkpoint checks the newest checkpoint of a store on a disk.
func (d *doctor) checkpoint(st shm.Stats) {
	c := st.Checkpoints
	found := fmt.Sprintf("the last one is %s old, and %s behind", d.now.Sub(c.At).Round(time.Second), text.Things(st.Version-c.Version, "version", "versions"))
	if c.Durable > c.Version {
		found += fmt.Sprintf("; by the journal, %s are not durable", text.Things(st.Version-c.Durable, "version", "versions"))
	}
	switch {
	case c.Version == 0: // in memory
	case !c.Failed.IsZero():
		d.find("checkpoint", Problem, "look for errors of the disk; back the store up, or rewrite it by shmctl compact --exclusive",
			"none is taken since data could not be written to the disk, %s; %s", text.Ago(c.Failed, d.now), found)
	case st.Version > c.Durable && d.now.Sub(c.At) > longCheckpoint:
		d.find("checkpoint", Warning, "let a writer take them, by Options.Checkpoint or Sync, or call shmctl sync", "%s", found)
	default:
		d.find("checkpoint", OK, "", "%s", found)
	}
}

// processes checks the open handles, which include that of this command.
func (d *doctor) processes(all []shm.Process) {
	var dead []string
	for _, p := range all {
		if !p.Alive {
			dead = append(dead, fmt.Sprintf("pid %d (%s)", p.Pid, text.Printable([]byte(p.Name))))
		}
	}
	if len(dead) > 0 {
		d.find("processes", Warning, "shmctl check "+d.Path+" adopts them, and so do writers when they need their slots",
			"%s died with the store open: %s", text.Things(len(dead), "process", "processes"), strings.Join(dead, ", "))
	}
	if len(all) > shm.MaxProcesses*9/10 {
		d.find("processes", Warning, "close handles that are not needed: a process needs only one for each store",
			"%d handles are open, of at most %d", len(all), shm.MaxProcesses)
	} else if len(dead) == 0 {
		d.find("processes", OK, "", "%d of at most %d handles are open, including this one; none of a dead process", len(all), shm.MaxProcesses)
	}
}

// snapshots looks for snapshots that have been open for an hour or longer.
func (d *doctor) snapshots(all []shm.Process, version uint64) {
	ok := true
	for _, p := range all {
		for _, pin := range p.Pins {
			if pin.Writer || !p.Alive || d.now.Sub(pin.Since) < longSnapshot {
				continue
			}
			ok = false
			d.find("snapshots", Warning, "close it, or end the process: records of this version that were replaced since keep their space",
				"pid %d (%s) holds version %s, %s behind, since %s", p.Pid, text.Printable([]byte(p.Name)), text.Count(pin.Version),
				text.Count(version-min(pin.Version, version)), text.Ago(pin.Since, d.now))
		}
	}
	if ok {
		d.find("snapshots", OK, "", "none is open for more than an hour")
	}
}
