package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
)

// realPath is the store's path as the kernel knows it, or "" where there is none.
func (d *doctor) realPath() string {
	path, err := filepath.Abs(d.Path)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return "" // opening the store tells more
	}
	return path
}

// removed looks for processes that have a store open that was removed from this
// path. They do not see what others write, nor others what they write.
func (d *doctor) removed() {
	path := d.realPath()
	if path == "" {
		return
	}
	// The kernel writes a newline of a name so.
	mapped := " " + strings.ReplaceAll(filepath.Join(path, "data"), "\n", `\012`) + " (deleted)\n"
	names, _ := filepath.Glob(filepath.Join(d.machine.root, "proc", "[0-9]*", "maps"))
	var users []string
	denied := false
	for _, name := range names {
		b, err := os.ReadFile(name)
		denied = denied || errors.Is(err, fs.ErrPermission)
		if strings.Contains(string(b), mapped) {
			pid := filepath.Base(filepath.Dir(name))
			comm := strings.TrimSpace(d.read(filepath.Join("proc", pid, "comm")))
			users = append(users, fmt.Sprintf("pid %s (%s)", pid, text.Printable([]byte(comm))))
		}
	}
	const none = "no process%s uses a store that was removed from here"
	switch {
	case users != nil:
		d.find("removed store", Problem, "restart them: they share nothing with those that open the store here, and their writes fail",
			"%s a store that was removed from here: %s", text.Things(len(users), "process uses", "processes use"), strings.Join(users, ", "))
	case denied:
		d.find("removed store", OK, "run doctor as root to look at all processes", none, " that this user may look at")
	default:
		d.find("removed store", OK, "", none, "")
	}
}

// lastSystemUser is the greatest user ID of those whose files systemd-logind
// leaves alone.
const lastSystemUser = 999

// logout looks at whether systemd-logind removes the store when its owner logs
// out, as by default it does with all that lies in shared memory.
func (d *doctor) logout() {
	path := d.realPath()
	owner, err := d.machine.owner(path)
	if err != nil || owner <= lastSystemUser || !strings.HasPrefix(path, d.machine.shared+"/") || !d.removesIPC() {
		return
	}
	d.find("logout", Warning, "set RemoveIPC=no in /etc/systemd/logind.conf, let a system user own the store, or put it into /run, a tmpfs of its own or on a disk",
		"it lies in %s and belongs to user %d: systemd-logind removes it when that user has logged out", d.machine.shared, owner)
}

func ownerOf(path string) (uid uint32, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Uid, nil
}

// removesIPC reports whether systemd-logind is there, or may be, and is not told
// RemoveIPC=no.
func (d *doctor) removesIPC() bool {
	conf := d.read("etc/systemd/logind.conf")
	if conf == "" {
		conf = d.read("usr/lib/systemd/logind.conf")
	}
	if _, err := os.Stat(filepath.Join(d.machine.root, "run/systemd/users")); err != nil && conf == "" {
		return false
	}
	// The comment in the main file is the default that it was built with. Files
	// beside it come later, in the order of their names; of one name, that in /etc
	// counts, then that in /run.
	removes := setting(conf, "#RemoveIPC", true)
	removes = setting(conf, "RemoveIPC", removes)
	beside := map[string]string{}
	for _, dir := range []string{"usr/lib", "run", "etc"} {
		names, _ := filepath.Glob(filepath.Join(d.machine.root, dir, "systemd/logind.conf.d/*.conf"))
		for _, name := range names {
			beside[filepath.Base(name)] = name
		}
	}
	for _, base := range slices.Sorted(maps.Keys(beside)) {
		b, _ := os.ReadFile(beside[base])
		removes = setting(string(b), "RemoveIPC", removes)
	}
	return removes
}

// setting returns the last value of a boolean in one of systemd's files, or
// otherwise.
func setting(conf, key string, otherwise bool) bool {
	for line := range strings.Lines(conf) {
		name, value, _ := strings.Cut(line, "=")
		if strings.TrimSpace(name) != key {
			continue
		}
		switch strings.ToLower(strings.TrimSpace(value)) {
		case "no", "false", "off", "0", "n", "f":
			otherwise = false
		case "yes", "true", "on", "1", "y", "t":
			otherwise = true
		}
	}
	return otherwise
}
