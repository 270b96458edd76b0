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

// realPath returns the store's absolute path without symbolic links, or "" if it does not
// exist.
func (d *doctor) realPath() string {
	path, err := filepath.Abs(d.Path)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return "" // the error of Open says more
	}
	return path
}

// removed looks for processes that have a store open that was removed from this path. They
// share nothing with processes that open the path now.
func (d *doctor) removed() {
	path := d.realPath()
	if path == "" {
		return
	}
	// The kernel escapes newlines in names.
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
		d.find("removed store", Problem, "restart them: they share nothing with processes that open the store now, and their writes fail",
			"%s a store that was removed from here: %s", text.Things(len(users), "process uses", "processes use"), strings.Join(users, ", "))
	case denied:
		d.find("removed store", OK, "run doctor as root to examine all processes", none, " that this user may examine")
	default:
		d.find("removed store", OK, "", none, "")
	}
}

// lastSystemUser is the largest user ID whose files systemd-logind does not remove.
const lastSystemUser = 999

// logout checks whether systemd-logind removes the store when its owner logs out. By
// default it removes all files of the user in shared memory.
func (d *doctor) logout() {
	path := d.realPath()
	owner, err := d.machine.owner(path)
	if err != nil || owner <= lastSystemUser || !strings.HasPrefix(path, d.machine.shared+"/") || !d.removesIPC() {
		return
	}
	d.find("logout", Warning, "set RemoveIPC=no in /etc/systemd/logind.conf, let a system user own the store, or move it to /run, another tmpfs or a disk",
		"the store is in %s and belongs to user %d: systemd-logind removes it when that user has logged out", d.machine.shared, owner)
}

func ownerOf(path string) (uid uint32, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Uid, nil
}

// removesIPC reports whether systemd-logind seems to exist and its configuration does not
// set RemoveIPC=no.
func (d *doctor) removesIPC() bool {
	conf := d.read("etc/systemd/logind.conf")
	if conf == "" {
		conf = d.read("usr/lib/systemd/logind.conf")
	}
	if _, err := os.Stat(filepath.Join(d.machine.root, "run/systemd/users")); err != nil && conf == "" {
		return false
	}
	// The comment in the main file shows the compiled-in default. Files in logind.conf.d
	// override the main file, in the order of their names. Of files with the same name,
	// /etc takes precedence over /run, and /run over /usr/lib.
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

// setting returns the last value of a boolean setting in a configuration file of systemd,
// or otherwise if the file does not set it.
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
